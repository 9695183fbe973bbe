"""Answers go to those whom the room was told of, and to nobody else."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteEvent, RemoteMessage
from bridge_core.api.ids import UserId
from bridges.email.codec.addresses import parse_address
from bridges.email.contacts import Standing
from bridges.email.mail import Result, Signature
from bridges.email.ports import Draft, OutgoingMail
from tests.bridges.email.office import ALICE, BOX, NOW, Office, mail, text_of

BEN = UserId("@ben:hs.test")
EVE = "eve@evil.test"
BOB, CAROL, DAN = (parse_address(one) for one in ("bob@x.net", "carol@y.net", "dan@z.net"))


def _to(office: Office, number: int = -1) -> list[str]:
    return [str(one) for one in list(office.outbox.mails.values())[number][1]]


def _said(events: list[RemoteEvent]) -> str:
    (message,) = events
    assert isinstance(message, RemoteMessage)
    return text_of(message)


# Lists


async def test_a_stranger_moves_no_list() -> None:
    """New mails of a list's room go where the list first said, whoever wrote to it last, verified or not."""
    office = Office()
    room = f"{BOX}/l/private.x.net"
    await office.comes(mail("one@x.net", list_id="private.x.net", list_post="mailto:private@x.net"))
    for number, verified in enumerate((False, True)):
        evil = mail(f"evil{number}@x.net", author=EVE, list_id="private.x.net", list_post=f"mailto:{EVE}")
        await office.comes(evil, verified=verified)
        await office.says("Subject: New\n\nTo the list", room)
        assert _to(office) == ["private@x.net"]
        await office.says("An answer", room, thread=f"evil{number}@x.net")
        assert _to(office) == ["private@x.net"]


async def test_a_list_that_moves_is_told_of() -> None:
    """Another address of its own domain changes nothing by itself: the room is told, and can write there by name."""
    office = Office()
    await office.comes(mail("one@x.net", list_id="dev.x.net", list_post="mailto:dev@x.net"))
    said = _said(await office.comes(mail("two@x.net", list_id="dev.x.net", list_post="mailto:other@x.net")))
    assert "takes mail at other@x.net now; what is written here goes to dev@x.net" in said
    await office.says("Subject: New\n\nHi", f"{BOX}/l/dev.x.net")
    assert _to(office) == ["dev@x.net"]


async def test_an_address_elsewhere_is_no_lists_own() -> None:
    """Who is first to name an address for a list in somebody else's domain does not get what is written to the list."""
    office = Office()
    await office.comes(mail(author=EVE, list_id="private.x.net", list_post=f"mailto:{EVE}"))
    with pytest.raises(RejectedError, match="say whom it is for"):
        await office.says("Subject: New\n\nHi", f"{BOX}/l/private.x.net")


@pytest.mark.parametrize("verified", [True, False])
async def test_an_address_for_answers_needs_a_list(verified: bool) -> None:
    """A List-Post alone takes no answers away from who wrote the mail; nor does one that nobody answers for."""
    office = Office()
    await office.comes(mail(list_post=f"mailto:{EVE}", list_id="" if verified else "l.x.net"), verified=verified)
    await office.says("Hi Bob", thread="one@x.net")
    assert _to(office) == ["bob@x.net"]


async def test_answers_to_a_list_are_said_to_go_there() -> None:
    """With a room for lists or without, and with heads or without."""
    for rooms in ({}, {"lists": False}, {"headers": False}):
        office = Office(mailboxes={BOX: {"members": [ALICE], **rooms}})
        said = _said(await office.comes(mail(list_id="a.b.github.com", list_post="mailto:reply+7@reply.github.com")))
        assert "answers go to the list, reply+7@reply.github.com" in said
        chat = office.inbox.messages[-1].chat
        await office.says("Hi", chat, thread="one@x.net")
        assert _to(office) == ["reply+7@reply.github.com"]


# People


async def test_who_comes_into_a_conversation_is_told() -> None:
    """A later mail's Cc is named in the room, once, before anything goes there."""
    office = Office()
    await office.comes(mail())
    said = _said(await office.comes(mail("two@x.net", in_reply_to=("one@x.net",), cc=(CAROL,))))
    assert "also to carol@y.net: answers go there too" in said
    assert "carol" not in _said(await office.comes(mail("three@x.net", in_reply_to=("two@x.net",), cc=(CAROL,))))
    await office.says("Hi", thread="one@x.net")
    assert _to(office) == ["bob@x.net", "carol@y.net"]


async def test_people_are_told_without_heads() -> None:
    """Where first mails show no head, the others who got it are named all the same."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "headers": False}})
    assert "also to carol@y.net" in _said(await office.comes(mail(cc=(CAROL,))))


async def test_what_is_said_in_somebodys_room_is_for_them() -> None:
    """A plain message goes to that person; an answer in a conversation of theirs, to all of it."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "mode": "correspondent"}})
    await office.comes(mail(cc=(CAROL,)))
    room = f"{BOX}/c/bob@x.net"
    await office.says("For you", room)
    assert _to(office) == ["bob@x.net"]
    assert office.composer.drafts[-1].references == ("one@x.net",)
    await office.says("For all", room, thread="one@x.net")
    assert _to(office) == ["bob@x.net", "carol@y.net"]


async def test_a_blind_copy_stays_blind() -> None:
    """Who got one and answers is shown, in no answer to all, and gets what is said in answer to them, alone."""
    office = Office()
    sent = await office.says("To: bob@x.net\nBcc: carol@y.net\nSubject: Hi\n\nHello")
    token = office.composer.drafts[-1].reply_to
    answer = mail("c@y.net", author="carol@y.net", to=(token,), subject="Re: Hi")
    said = _said(await office.comes(answer, str(token)))
    assert "got a blind copy" in said
    await office.says("More", thread=sent.ids[0])
    assert _to(office) == ["bob@x.net"]
    await office.says("Do not tell Bob", thread=sent.ids[0], reply_to="c@y.net")
    assert _to(office) == ["carol@y.net"]
    assert office.composer.drafts[-1].to == (CAROL,)
    await office.says("And now?", thread=sent.ids[0])
    assert _to(office) == ["bob@x.net"]
    # Named openly, nobody is hidden any more.
    await office.says("Cc: carol@y.net\n\nHello both", thread=sent.ids[0])
    await office.says("Both", thread=sent.ids[0])
    assert _to(office) == ["bob@x.net", "carol@y.net"]


async def test_answers_go_where_their_author_wants_them() -> None:
    """Reply-To of a verified author, which the room is told of; of nobody else, and for nobody else."""
    office = Office()
    said = _said(await office.comes(mail(cc=(CAROL,), reply_to=(DAN,))))
    assert "answers go to dan@z.net" in said
    await office.says("Hi", thread="one@x.net")
    assert _to(office) == ["dan@z.net", "carol@y.net"]
    await office.comes(mail("two@x.net", in_reply_to=("one@x.net",)))
    await office.says("Hi", thread="one@x.net")
    assert _to(office) == ["bob@x.net", "carol@y.net"]
    office = Office()
    said = _said(await office.comes(mail(reply_to=(DAN,)), verified=False))
    assert "asks for answers to dan@z.net" in said
    await office.says("Hi", thread="one@x.net")
    assert _to(office) == ["bob@x.net"]


# Whose conversations


async def test_a_token_opens_its_own_mailbox_only() -> None:
    """Who knows a token of another mailbox, which stands in each of its mails, reads and writes nothing by it."""
    office = Office(mailboxes={BOX: {"members": [BEN]}, "sales@example.org": {"members": [ALICE]}})
    await office.comes(mail())
    thread = await office.threads.of(BOX, "one@x.net")
    assert thread is not None
    with pytest.raises(RejectedError, match="say whom"):
        await office.says("Hi", f"sales@example.org/t/{thread.token}")
    assert await office.threads.get("sales@example.org", thread.token) is None
    assert await office.threads.get(BOX, thread.token) == thread


async def test_two_people_know_the_same_correspondent() -> None:
    """Their rooms are called alike, and yet nobody goes on with a conversation of somebody else's."""
    office = Office()
    alice, ben = office.login(), office.login(BEN)
    await office.says("Subject: Secret\n\nHello", "~/c/bob@x.net", own=alice)
    await office.says("Hello", "~/c/bob@x.net", BEN, own=ben)
    draft = office.composer.drafts[-1]
    assert (draft.subject, draft.references) == ("Hello", ())


# Tries


async def test_whom_a_mail_goes_to_is_decided_once() -> None:
    """Who comes into the conversation between two tries did not get the mail, and does not stand in it."""
    office = Office()
    await office.comes(mail())
    office.inbox.fails = 1
    with pytest.raises(RejectedError):
        await office.says("Hi", thread="one@x.net", key="k")
    await office.comes(mail("two@x.net", in_reply_to=("one@x.net",), cc=(CAROL,)))
    (sent,) = (await office.says("Hi", thread="one@x.net", key="k")).ids
    assert _to(office) == ["bob@x.net"]
    assert [str(one) for one in office.composer.drafts[-1].to] == ["bob@x.net"]
    await office.says("Hi", thread="one@x.net", key="k")
    await office.edits(sent, "Better")
    draft = office.composer.drafts[-1]
    assert (draft.in_reply_to, draft.references) == ("one@x.net", ("one@x.net",))


async def test_a_later_try_keeps_what_came_meanwhile() -> None:
    """A mail that begins a conversation, and is answered before its second try, does not begin it again."""
    office = Office()
    text = "To: bob@x.net\nSubject: Hi\n\nHello"
    (sent,) = (await office.says(text, key="k")).ids
    await office.comes(mail("two@x.net", in_reply_to=(sent,), cc=(CAROL,)))
    await office.says(text, key="k")
    thread = await office.threads.of(BOX, sent)
    assert thread is not None
    assert thread.references == (sent, "two@x.net")
    assert thread.people == (BOB.named("Bob"), CAROL) or thread.knows(CAROL)


async def test_rows_of_a_mail_are_one_commit() -> None:
    """All that is known of a mail is committed in one step: no id ever leads to a conversation that is not there."""
    office = Office()
    await office.says("To: bob@x.net\nSubject: Hi\n\nHello")
    assert len(office.commits) == 1


async def test_a_large_file_keeps_nobody_waiting() -> None:
    """While a mail is composed, others of its mailbox come and go."""
    office = Office()
    await office.comes(mail())
    started, go_on = asyncio.Event(), asyncio.Event()
    composer = office.composer

    class Slow:
        async def compose(self, draft: Draft) -> OutgoingMail:
            started.set()
            await go_on.wait()
            return await composer.compose(draft)

    office.writing._composer = Slow()
    writing = asyncio.create_task(office.says("Hi", thread="one@x.net"))
    await asyncio.wait_for(started.wait(), 60)
    assert await asyncio.wait_for(office.comes(mail("two@x.net", in_reply_to=("one@x.net",))), 60)
    go_on.set()
    (sent,) = (await asyncio.wait_for(writing, 60)).ids
    thread = await office.threads.of(BOX, "one@x.net")
    assert thread is not None
    assert thread.references == ("one@x.net", "two@x.net", sent)


# Edits


async def test_an_edit_never_goes_to_the_wrong_people() -> None:
    """Another To, Cc or Bcc in an edit is refused in words; a better subject of a new conversation is taken."""
    office = Office()
    (sent,) = (await office.says("To: bob@wrong.net\nSubject: Hi\n\nHello")).ids
    for text in ("To: bob@x.net\nSubject: Hi\n\nHello", "Cc: bob@x.net\n\nHello"):
        with pytest.raises(RejectedError, match="take it back, and write it anew"):
            await office.edits(sent, text)
    await office.edits(sent, "To: bob@wrong.net\nSubject: Better\n\nHello")
    assert office.composer.drafts[-1].subject == "Better"
    await office.edits(sent, "Hello!")
    assert _to(office) == ["bob@wrong.net"]


async def test_a_conversation_keeps_its_subject() -> None:
    """A subject in an answer is refused: it would be read as a new conversation, and is none."""
    office = Office()
    await office.comes(mail())
    with pytest.raises(RejectedError, match="keeps its subject"):
        await office.says("Subject: Other\n\nHi", thread="one@x.net")


# Unsubscribing


def _newsletter(number: int, link: str, *, author: str = "news@shop.net", **fields: Any) -> Any:
    return mail(f"n{number}@shop.net", author=author, unsubscribe=(link,), one_click=True, **fields)


async def test_only_the_sender_says_how_to_leave() -> None:
    """By a signed mail of a verified author, of the domain that said it first: others would hear of who reads."""
    office = Office()
    office.signatures = (Signature("shop.net", "s", Result.PASS),)
    listed = {"list_id": "news.shop.net"}
    await office.comes(_newsletter(1, "https://evil.test/0", **listed), verified=False)
    assert await office.lists.leavable(BOX) == []
    await office.comes(_newsletter(2, "https://shop.net/1", **listed))
    await office.comes(_newsletter(3, "https://evil.test/2", author=EVE, **listed))
    await office.comes(_newsletter(4, "https://evil.test/3", **listed), verified=False)
    office.signatures = ()
    await office.comes(_newsletter(5, "https://shop.net/4", **listed))
    (bulk,) = await office.lists.leavable(BOX)
    assert (bulk.name, bulk.leave) == ("news.shop.net", "https://shop.net/1")
    office.signatures = (Signature("shop.net", "s", Result.PASS),)
    await office.comes(_newsletter(6, "https://shop.net/5", **listed))
    (bulk,) = await office.lists.leavable(BOX)
    assert bulk.leave == "https://shop.net/5"


# Signatures and circles


async def test_a_mailbox_signs_its_mails() -> None:
    """As its settings say; edits, too."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "signature": "Example Ltd"}})
    (sent,) = (await office.says("To: bob@x.net\nSubject: Hi\n\nHello")).ids
    await office.edits(sent, "Better")
    assert [one.signature for one in office.composer.drafts] == ["Example Ltd"] * 2


async def test_quick_answers_count_the_bridges_between() -> None:
    """What answers a mail over bridges as quickly as a program may be one: it goes over no more bridges than it may.

    What a person writes, later, begins anew.
    """
    office = Office()
    await office.comes(mail(crossed=3))
    await office.says("At once", thread="one@x.net")
    assert office.composer.drafts[-1].hops == 3
    thread = await office.threads.of(BOX, "one@x.net")
    assert thread is not None
    assert (thread.hops(NOW + 9_999), thread.hops(NOW + 10_000)) == (3, 0)


async def test_an_answer_to_all_ends_no_block() -> None:
    """Who is blocked stays so when their conversation is answered, and gets nothing; a mail by name ends it."""
    office = Office()
    eve = parse_address("eve@evil.net")
    await office.comes(mail("one@x.net", cc=(eve,)))
    await office.contacts.set(BOX, eve, Standing.BLOCKED)
    await office.says("Hello Bob", reply_to="one@x.net")
    assert _to(office) == ["bob@x.net"]
    assert await office.contacts.standing(BOX, eve) is Standing.BLOCKED
    await office.says("To: eve@evil.net\nSubject: Peace\n\nHello Eve")
    assert await office.contacts.standing(BOX, eve) is Standing.KNOWN
