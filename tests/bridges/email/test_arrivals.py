"""What mails become in the rooms of mailboxes."""

from dataclasses import replace
from typing import Any

import pytest

from bridge_core.api.content import MediaKind, Paragraph, Picture, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import (
    Fate,
    RemoteEdit,
    RemoteMessage,
    RemoteReaction,
    RemoteReceipt,
    RemoteRedaction,
    RemoteStatus,
)
from bridge_core.api.ids import ChatId, MessageId
from bridges.email.codec.addresses import parse_address
from bridges.email.contacts import Standing
from bridges.email.mail import Door, MailFile, MailReaction, Report, ReportKind, Result, Signature
from bridges.email.tally import Became
from tests.bridges.email.office import ALICE, BOX, NOW, Office, mail, text_of


async def test_a_mail_becomes_a_message_of_its_author() -> None:
    """The room of a shared mailbox shows who wrote it, its subject and its text; its members are invited."""
    office = Office()
    (message,) = await office.comes(mail())
    assert isinstance(message, RemoteMessage)
    assert (message.chat, message.sender.id, message.sender.name) == (BOX, "bob@x.net", "Bob")
    assert (message.id, message.thread, message.receiver, message.timestamp) == ("one@x.net", None, None, NOW)
    assert text_of(message) == "The invoice\n\n(bob@x.net is verified: DMARC)\nHello"
    assert office.host.rooms.opened == {BOX: (ALICE, "@ben:hs.test")}


async def test_the_same_mail_again_is_nothing() -> None:
    """One that came by two ways, or again after a crash, is shown once; by two aliases, too."""
    office = Office()
    assert len(await office.comes(mail(), BOX, "help@example.org", "support+x@example.org")) == 1
    assert await office.comes(mail()) == []


async def test_another_mail_under_a_known_id_is_shown() -> None:
    """Whoever uses an id again suppresses nobody's mail, not even their own, and that once as well."""
    office = Office()
    await office.comes(mail())
    (other,) = await office.comes(mail(text="Other"), digest="f" * 64)
    assert isinstance(other, RemoteMessage)
    assert other.id == f"one@x.net#{'f' * 16}"
    assert await office.comes(mail(text="Other"), digest="f" * 64) == []


async def test_what_could_not_be_stored_is_shown_when_it_comes_again() -> None:
    """Nothing of a mail is known before its events are committed."""
    office = Office()
    office.inbox.fails = 1
    with pytest.raises(RejectedError):
        await office.comes(mail())
    assert office.host.kv.values == {}
    assert len(await office.comes(mail())) == 1


async def test_answers_are_in_the_thread_of_their_conversation() -> None:
    """By In-Reply-To, by the last of the references that is known, and by the token in the address."""
    office = Office()
    await office.comes(mail())
    (answer,) = await office.comes(mail("two@x.net", "Again", in_reply_to=("one@x.net",)))
    (later,) = await office.comes(mail("three@x.net", references=("one@x.net", "two@x.net", "lost@x.net")))
    thread = await office.threads.of(BOX, "one@x.net")
    assert thread is not None
    (by_token,) = await office.comes(mail("four@x.net", author="new@y.net"), f"support+{thread.token}@example.org")
    for message in (answer, later, by_token):
        assert isinstance(message, RemoteMessage)
        assert message.thread == "one@x.net"
    assert isinstance(answer, RemoteMessage)
    assert text_of(answer) == "Again"
    assert answer.reply_to is None


async def test_an_answer_to_a_later_mail_names_it() -> None:
    """Within a thread the message that is answered is the one that the mail answers."""
    office = Office()
    await office.comes(mail())
    await office.comes(mail("two@x.net", in_reply_to=("one@x.net",)))
    (answer,) = await office.comes(mail("three@x.net", in_reply_to=("two@x.net",)))
    assert isinstance(answer, RemoteMessage)
    assert answer.reply_to == "two@x.net"


@pytest.mark.parametrize(("author", "verified"), [("eve@evil.test", True), ("bob@x.net", False)])
async def test_nobody_comes_into_a_conversation_by_its_ids_alone(author: str, verified: bool) -> None:
    """Who does not take part, or may not be who they say, begins a conversation of their own; the room is told."""
    office = Office()
    await office.comes(mail())
    (message,) = await office.comes(mail("evil@x.net", in_reply_to=("one@x.net",), author=author), verified=verified)
    assert isinstance(message, RemoteMessage)
    assert message.thread is None
    assert "another conversation" in text_of(message)


async def test_an_unverified_author_is_another_person() -> None:
    """Their ghost is not that of the verified one, says so, and the message says why."""
    office = Office()
    (message,) = await office.comes(mail(), verified=False)
    assert isinstance(message, RemoteMessage)
    assert (message.sender.id, message.sender.name) == ("unverified:bob@x.net", "Bob (unverified)")
    assert "nobody answers for bob@x.net: it failed" in text_of(message)
    office = Office()
    two = replace(mail(), authors=(parse_address("bob@x.net"), parse_address("carol@x.net")))
    (message,) = await office.comes(two)
    assert isinstance(message, RemoteMessage)
    assert message.sender.id == "unverified:bob@x.net"


async def test_a_mailbox_can_have_a_room_for_each_conversation() -> None:
    """Mode thread: another room for each, no Matrix threads in them."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "mode": "thread"}})
    (first,) = await office.comes(mail())
    (answer,) = await office.comes(mail("two@x.net", in_reply_to=("one@x.net",)))
    (other,) = await office.comes(mail("other@x.net"))
    assert isinstance(first, RemoteMessage) and isinstance(answer, RemoteMessage) and isinstance(other, RemoteMessage)
    assert first.chat == answer.chat != other.chat
    assert first.chat.startswith(f"{BOX}/t/")
    assert answer.thread is None
    assert set(office.host.rooms.opened) == {first.chat, other.chat}


async def test_a_mailbox_can_have_a_room_for_each_person() -> None:
    """Mode correspondent, as Matrix users' own mailboxes are: somebody who only says to be them is in another room."""
    office = Office()
    login = office.login()
    (message,) = await office.comes(mail(to=(parse_address(login),)), login)
    (spoofed,) = await office.comes(mail("two@x.net"), login, verified=False)
    assert isinstance(message, RemoteMessage) and isinstance(spoofed, RemoteMessage)
    assert (message.chat, message.receiver) == ("~/c/bob@x.net", login)
    assert spoofed.chat == "~/c/unverified:bob@x.net"
    assert office.host.rooms.opened == {}


async def test_a_mailing_list_has_a_room() -> None:
    """All its mail is there, whoever wrote it; its threads are threads."""
    office = Office()
    office.signatures = (Signature("x.net", "s", Result.PASS),)
    listed = {"list_id": "dev.x.net", "list_post": "dev@x.net"}
    (first,) = await office.comes(mail(**listed))
    (answer,) = await office.comes(mail("two@x.net", author="c@y.net", in_reply_to=("one@x.net",), **listed))
    assert isinstance(first, RemoteMessage) and isinstance(answer, RemoteMessage)
    assert first.chat == answer.chat == f"{BOX}/l/dev.x.net"
    assert answer.thread == "one@x.net"
    # It does not open the mailbox's own conversations to the list.
    await office.comes(mail("private@x.net"))
    (message,) = await office.comes(mail("three@x.net", author="c@y.net", in_reply_to=("private@x.net",), **listed))
    assert isinstance(message, RemoteMessage)
    assert (message.chat, message.thread) == (first.chat, None)


ASKS = {"mailboxes": {BOX: {"members": [ALICE], "strangers": "ask"}}}
EVE = parse_address("eve@evil.net")


@pytest.mark.parametrize("verified", [True, False])
async def test_a_list_id_brings_no_stranger_in(verified: bool) -> None:
    """Only what a list's own domain answers for is its mail: whoever just says so is asked about."""
    office = Office(**ASKS)
    await office.contacts.set(BOX, parse_address("bob@x.net"), Standing.KNOWN)
    await office.comes(mail("l1@x.net", list_id="list.x.net"))
    office.signatures = (Signature("evil.net", "s", Result.PASS), Signature("x.net", "s", Result.FAIL))
    evil = mail("e1@evil.net", author=str(EVE), list_id="list.x.net", in_reply_to=("l1@x.net",))
    await office.comes(evil, verified=verified)
    assert office.shown.became == {Became.HELD}
    for domain in ("list.x.net", "x.net"):
        office.signatures = (Signature(domain, "s", Result.PASS),)
        more = mail(f"e2@{domain}", author=str(EVE), list_id="list.x.net", in_reply_to=("l1@x.net",))
        (message,) = await office.comes(more, verified=verified)
        assert isinstance(message, RemoteMessage)
        assert (message.chat, message.thread) == (f"{BOX}/l/list.x.net", "l1@x.net")


async def test_who_writes_to_a_list_is_not_known_for_that() -> None:
    """Their private mail is a stranger's still."""
    office = Office(**ASKS)
    await office.contacts.set(BOX, parse_address("bob@x.net"), Standing.KNOWN)
    office.signatures = (Signature("x.net", "s", Result.PASS),)
    await office.comes(mail("l1@x.net", list_id="list.x.net"))
    await office.comes(mail("e1@evil.net", author=str(EVE), list_id="list.x.net", in_reply_to=("l1@x.net",)))
    assert office.shown.became == {Became.SHOWN}
    assert await office.contacts.standing(BOX, EVE) is None
    await office.comes(mail("e2@evil.net", author=str(EVE)))
    assert office.shown.became == {Became.HELD}


async def test_a_forged_copy_that_comes_first_swallows_no_mail() -> None:
    """The true one is shown as its author's, once; what comes as a copy after it is nothing."""
    office = Office()
    (forged,) = await office.comes(mail(), verified=False, digest="same")
    (true,) = await office.comes(mail(), digest="same")
    assert isinstance(forged, RemoteMessage) and isinstance(true, RemoteMessage)
    assert (forged.sender.id, true.sender.id) == ("unverified:bob@x.net", "bob@x.net")
    assert forged.id != true.id
    for verified in (True, False):
        assert await office.comes(mail(), verified=verified, digest="same") == []


async def test_files_come_with_the_mail_and_pictures_at_their_place() -> None:
    """Attachments are files of the message, inline images are within the text, and are nothing else."""
    office = Office()
    files = (MailFile("a.pdf", "application/pdf", 3), MailFile("logo.png", "image/png", 4, "logo@x", inline=True))
    shown = replace(mail(files=files), text=(Paragraph((Plain("see "), Picture("logo", "cid:logo@x"))),))
    (message,) = await office.comes(shown, files=(b"pdf", b"logo"))
    assert isinstance(message, RemoteMessage)
    (attached,) = message.content.attachments
    assert (attached.name, attached.kind, office.host.blobs.files[attached.source]) == ("a.pdf", MediaKind.FILE, b"pdf")
    paragraph = message.content.text[-1]
    assert isinstance(paragraph, Paragraph)
    picture = paragraph.children[1]
    assert isinstance(picture, Picture) and picture.source is not None
    assert office.host.blobs.files[picture.source] == b"logo"


async def test_what_was_left_out_of_a_text_is_there_as_a_file() -> None:
    """The whole text of a trimmed mail, and of one too long for a message."""
    office = Office()
    (message,) = await office.comes(mail(trimmed=True, whole="Hello\n> all of it"))
    assert isinstance(message, RemoteMessage)
    (whole,) = message.content.attachments
    assert office.host.blobs.files[whole.source] == b"Hello\n> all of it"
    (message,) = await office.comes(mail("long@x.net", "x" * 40_000))
    assert isinstance(message, RemoteMessage)
    assert len(text_of(message)) < 31_000
    assert office.host.blobs.files[message.content.attachments[0].source] == b"x" * 40_000


async def test_a_mail_of_nothing_says_so() -> None:
    """There is no message without words."""
    office = Office()
    await office.comes(mail())
    (message,) = await office.comes(mail("two@x.net", "", in_reply_to=("one@x.net",)))
    assert isinstance(message, RemoteMessage)
    assert text_of(message) == "(empty mail)"


async def test_reactions_corrections_and_withdrawals() -> None:
    """Of who takes part, and what they wrote themselves; the new reaction takes the place of the old one."""
    office = Office()
    await office.comes(mail())
    (put,) = await office.comes(mail("r1@x.net", reaction=MailReaction("👍", True), in_reply_to=("one@x.net",)))
    assert isinstance(put, RemoteReaction)
    assert (put.target, put.key, put.removed) == ("one@x.net", "👍", False)
    off, on = await office.comes(mail("r2@x.net", reaction=MailReaction("🎉", True), in_reply_to=("one@x.net",)))
    assert isinstance(off, RemoteReaction) and isinstance(on, RemoteReaction)
    assert [(off.key, off.removed), (on.key, on.removed)] == [("👍", True), ("🎉", False)]
    (none,) = await office.comes(mail("r3@x.net", reaction=MailReaction("", True), in_reply_to=("one@x.net",)))
    assert isinstance(none, RemoteReaction) and none.removed
    (edit,) = await office.comes(mail("e@x.net", "Better", edits="one@x.net"))
    assert isinstance(edit, RemoteEdit)
    assert (edit.target, edit.chat) == ("one@x.net", BOX)
    (gone,) = await office.comes(mail("d@x.net", deletes=("one@x.net",)))
    assert isinstance(gone, RemoteRedaction)
    assert gone.target == "one@x.net"
    thread = await office.threads.of(BOX, "one@x.net")
    assert thread is not None and thread.reads_reactions


@pytest.mark.parametrize(
    "what", [{"edits": "one@x.net"}, {"deletes": ("one@x.net",)}, {"reaction": MailReaction("👍", True)}]
)
@pytest.mark.parametrize(("author", "verified"), [("eve@evil.test", True), ("bob@x.net", False)])
async def test_nobody_else_changes_a_mail(what: dict[str, object], author: str, verified: bool) -> None:
    """What somebody else, or nobody sure, wants to do to a mail is shown as a mail of theirs."""
    office = Office()
    await office.comes(mail())
    (message,) = await office.comes(
        mail("evil@x.net", author=author, in_reply_to=("one@x.net",), **what), verified=verified
    )
    assert isinstance(message, RemoteMessage)


async def test_reports_go_to_what_they_are_about() -> None:
    """A delivery report becomes the fate of the message, one of reading its receipt; neither is a message."""
    office = Office()
    sent = await office.says("To: bob@x.net\nSubject: Hi\n\nHello")
    failed = RemoteStatus(ChatId(BOX), sent.ids[0], Fate.FAILED)
    office.returned.told = [failed]
    report = Report(ReportKind.DELIVERY)
    assert await office.comes(mail("dsn@x.net", report=report), "b+token@example.org") == [failed]
    read = Report(ReportKind.READ, about=(sent.ids[0],))
    (receipt,) = await office.comes(mail("mdn@x.net", report=read))
    assert isinstance(receipt, RemoteReceipt)
    assert (receipt.target, receipt.sender.id) == (sent.ids[0], "bob@x.net")


async def test_our_own_mail_from_elsewhere_is_our_own() -> None:
    """What a Matrix user sends with a mail program, by their password, is said by themselves."""
    office = Office()
    login = office.login()
    own = mail("own@example.org", author=login, to=(parse_address("bob@x.net"),))
    (message,) = await office.comes(own, login, login=login, verified=False)
    assert isinstance(message, RemoteMessage)
    assert (message.sender.login, message.sender.id, message.chat) == (login, login, "~/c/bob@x.net")


async def test_who_is_blocked_is_not_shown() -> None:
    """Nothing of theirs comes into the mailbox's rooms any more."""
    office = Office()
    await office.contacts.set(BOX, parse_address("bob@x.net"), Standing.BLOCKED)
    assert await office.comes(mail()) == []


async def test_a_stranger_can_be_asked_about_first() -> None:
    """Sender and subject are said, nothing else; their mail waits, and once they are known it is shown."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "strangers": "ask"}})
    (asked,) = await office.comes(mail())
    assert isinstance(asked, RemoteMessage)
    assert "The invoice" in text_of(asked) and "Hello" not in text_of(asked) and "accept bob@x.net" in text_of(asked)
    (again,) = await office.comes(mail("two@x.net"))
    assert isinstance(again, RemoteMessage) and again.id == asked.id
    assert office.waiting == [(BOX, "bob@x.net")] * 2
    await office.contacts.set(BOX, parse_address("bob@x.net"), Standing.KNOWN)
    (message,) = await office.comes(mail())
    assert isinstance(message, RemoteMessage) and "Hello" in text_of(message)


async def test_each_mailbox_that_asks_holds_its_own_part_of_a_mail() -> None:
    """What is given back to one of them is for that one alone: it waits for no other, and is shown at no other."""
    office = Office(mailboxes={one: {"members": [ALICE], "strangers": "ask"} for one in (BOX, "sales@example.org")})
    await office.comes(mail(), BOX, "sales@example.org", "support+news@example.org")
    assert office.held_for == [[BOX, "support+news@example.org"], ["sales@example.org"]]


async def test_nobody_is_asked_about_old_mails() -> None:
    """What an admin imports is shown, also of strangers: what waits for a word is bounded, and would be lost."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "strangers": "ask"}})
    (message,) = await office.comes(mail(), verified=False, door=Door.IMPORT)
    assert isinstance(message, RemoteMessage) and "Hello" in text_of(message)
    assert office.waiting == []


async def test_ids_made_here_are_told_to_nobody() -> None:
    """A mail without an id is known by one that only we know: no answer names it, nor one of an id used twice."""
    office = Office()
    await office.comes(mail("made", made_id=True))
    await office.says("Thanks", thread="made", reply_to="made")
    assert (office.composer.drafts[-1].in_reply_to, office.composer.drafts[-1].references) == ("", ())
    await office.comes(mail())
    await office.comes(mail(text="Other"), digest="f" * 64)
    await office.says("Thanks", thread=f"one@x.net#{'f' * 16}")
    assert office.composer.drafts[-1].references == ("one@x.net",)


async def test_ids_that_a_relay_gave_belong_to_the_same_mail() -> None:
    """An answer that names the id from before is in the thread."""
    office = Office()
    await office.comes(mail(former_ids=("before@x.net",)))
    (answer,) = await office.comes(mail("two@x.net", in_reply_to=("before@x.net",)))
    assert isinstance(answer, RemoteMessage)
    assert answer.thread == MessageId("one@x.net")


@pytest.mark.parametrize(
    "evil",
    [
        {"former_ids": ("one@x.net",)},
        {"message_id": "one@x.net", "reaction": MailReaction("👍"), "in_reply_to": ("evil@evil.test",)},
        {"message_id": "one@x.net", "edits": "evil@evil.test"},
        {"message_id": "one@x.net", "deletes": ("evil@evil.test",)},
    ],
)
@pytest.mark.parametrize("verified", [True, False])
async def test_no_mail_takes_the_place_of_another(evil: dict[str, Any], verified: bool) -> None:
    """Whatever ids somebody writes into a mail: an answer to bob's goes to bob, and nobody else may take it back."""
    office = Office()
    await office.comes(mail())
    await office.comes(mail("evil@evil.test", author="eve@evil.test"))
    message_id = evil.pop("message_id", "more@evil.test")
    await office.comes(mail(message_id, author="eve@evil.test", **evil), verified=verified, digest="e" * 64)
    await office.says("Dear Bob", thread="one@x.net", reply_to="one@x.net")
    assert [str(one) for one in list(office.outbox.mails.values())[-1][1]] == ["bob@x.net"]
    (message,) = await office.comes(mail("d@evil.test", author="eve@evil.test", deletes=("one@x.net",)))
    assert isinstance(message, RemoteMessage)


@pytest.mark.parametrize(
    ("author", "verified", "sender"),
    [("eve@evil.test", True, ""), ("eve@evil.test", True, None), ("bob@x.net", False, "")],
)
async def test_who_takes_answers_only_is_shown_no_stranger(author: str, verified: bool, sender: str | None) -> None:
    """The null reverse-path, a forged one, and a contact's forged From open nothing; the admin has the mail."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "strangers": "refuse"}})
    await office.contacts.set(BOX, parse_address("bob@x.net"), Standing.KNOWN)
    assert await office.comes(mail(author=author), verified=verified, sender=sender) == []
    assert office.shown.became == {Became.QUARANTINED}
    assert office.shown.aside[0][0] == (parse_address(BOX),)
    (message,) = await office.comes(mail("two@x.net"))
    assert isinstance(message, RemoteMessage) and "Hello" in text_of(message)
    (answer,) = await office.comes(mail("three@x.net", in_reply_to=("two@x.net",)), sender="")
    assert isinstance(answer, RemoteMessage)


async def test_a_forged_contact_is_asked_about() -> None:
    """Who is accepted is who proves it; who cannot is accepted by that name only, and blocked by either."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "strangers": "ask"}})
    bob = parse_address("bob@x.net")
    await office.contacts.set(BOX, bob, Standing.KNOWN)
    (asked,) = await office.comes(mail(), verified=False)
    assert isinstance(asked, RemoteMessage)
    assert "accept unverified:bob@x.net" in text_of(asked) and "Hello" not in text_of(asked)
    assert (office.waiting, office.shown.became) == ([(BOX, "unverified:bob@x.net")], {Became.HELD})
    await office.contacts.set(BOX, bob, Standing.KNOWN, verified=False)
    (message,) = await office.comes(mail(), verified=False)
    assert isinstance(message, RemoteMessage) and "Hello" in text_of(message)
    await office.contacts.set(BOX, bob, Standing.BLOCKED)
    assert await office.comes(mail("two@x.net"), verified=False) == []
    assert office.shown.became == {Became.BLOCKED}
    await office.contacts.set(BOX, bob, Standing.KNOWN)
    assert await office.contacts.standing(BOX, bob, verified=False) is None


async def test_a_request_is_asked_again_when_the_one_before_has_ended() -> None:
    """Its id is the request's, which the core knows: one that is new is seen."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "strangers": "ask"}})
    (first,) = await office.comes(mail())
    office.held = "e7"
    (second,) = await office.comes(mail("two@x.net"))
    assert isinstance(first, RemoteMessage) and isinstance(second, RemoteMessage)
    assert first.id != second.id


async def test_what_has_no_room_to_wait_is_the_admins() -> None:
    """A mail that cannot be held is not lost: it is given back to be set aside."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "strangers": "ask"}})
    office.held = None
    assert await office.comes(mail()) == []
    assert office.shown.became == {Became.QUARANTINED}
    assert "as many mails of bob@x.net" in office.shown.aside[0][1]


async def test_recipients_that_are_nobodys_are_the_admins() -> None:
    """Postmaster where no mailbox is, and one that was taken out since: what others have of the mail they keep."""
    office = Office(mailboxes={}, provide={})
    assert await office.comes(mail(), "postmaster@example.org") == []
    assert office.shown.became == {Became.QUARANTINED}
    office = Office()
    (message,) = await office.comes(mail(), BOX, "gone@example.org")
    assert isinstance(message, RemoteMessage)
    assert office.shown.became == {Became.SHOWN, Became.QUARANTINED}
    assert [[str(one) for one in people] for people, _ in office.shown.aside] == [["gone@example.org"]]


async def test_a_fate_is_told_after_what_can_fail() -> None:
    """A report that also goes to a mailbox is tried again with it: its fate is told once, in one commit."""
    office = Office()
    office.returned.told = [RemoteStatus(ChatId(BOX), MessageId("m"), Fate.FAILED)]
    office.inbox.fails = 1
    with pytest.raises(RejectedError):
        await office.comes(mail(), "b+token@example.org", BOX)
    await office.comes(mail(), "b+token@example.org", BOX)
    assert sum(isinstance(event, RemoteStatus) for event in office.inbox.events) == 1
    assert office.shown.became == {Became.SHOWN, Became.REPORT}


async def test_who_is_proved_is_said_once_and_when_it_changes() -> None:
    """In each conversation: of verified mail in short, not with each message; again when it is otherwise."""
    office = Office()

    async def said(number: int, **more: Any) -> str:
        thread = await office.threads.of(BOX, "m0@x.net")
        to = f"support+{thread.token}@example.org" if thread is not None else BOX
        (message,) = await office.comes(mail(f"m{number}@x.net", "Hello"), to, **more)
        assert isinstance(message, RemoteMessage)
        return text_of(message)

    assert "bob@x.net is verified: DMARC" in await said(0)
    assert await said(1) == "Hello"
    office.signatures = (Signature("x.net", "s1", Result.PASS), Signature("y.net", "s1", Result.FAIL))
    assert "bob@x.net is verified: DMARC, DKIM x.net" in await said(2)
    assert await said(3) == "Hello"
    assert "nobody answers for bob@x.net: it failed" in await said(4, verified=False)
    assert await said(5, verified=False) == "Hello"
    assert "is verified" in await said(6)


async def test_a_name_that_is_somebody_elses_comes_with_its_address() -> None:
    """However it is spelled; the one who proved it first keeps it plain, and nobody takes it who proves nothing."""
    office = Office()

    async def name(number: int, author: str, called: str, verified: bool = True) -> str:
        one = replace(mail(f"m{number}@x.net"), authors=(parse_address(author).named(called),))
        (message,) = await office.comes(one, verified=verified)
        assert isinstance(message, RemoteMessage)
        return message.sender.name or ""

    assert await name(0, "eve@evil.test", "Bob Miller", verified=False) == "Bob Miller (unverified)"
    assert await name(1, "bob@x.net", "Bob Miller") == "Bob Miller"
    assert await name(2, "eve@evil.test", "Bob Miller") == "Bob Miller (eve@evil.test)"
    assert await name(3, "eve@evil.test", "B\u043eb  Miller") == "B\u043eb Miller (eve@evil.test)"
    assert await name(4, "eve@evil.test", "Bob Miller", verified=False) == "Bob Miller (eve@evil.test) (unverified)"
    assert await name(5, "bob@x.net", "Bob Miller") == "Bob Miller"
