"""What is written on Matrix, and whom it goes to."""

import pytest

from bridge_core.api.content import Paragraph, Plain, RichText
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import RemoteMessage
from bridge_core.api.ids import UserId
from bridge_core.content import to_plain
from bridges.email.codec.addresses import parse_address
from bridges.email.letterhead import LetterheadError, letterhead
from bridges.email.mail import MailReaction
from tests.bridges.email.office import BOX, EVE, Office, mail

BEN = UserId("@ben:hs.test")
CAROL = parse_address("carol@y.net")


def _to(office: Office, number: int = -1) -> list[str]:
    return [str(one) for one in list(office.outbox.mails.values())[number][1]]


async def test_an_answer_goes_to_all_who_take_part() -> None:
    """In the thread, without an address: to its people, in its conversation, from the mailbox."""
    office = Office()
    await office.comes(mail(cc=(CAROL,)))
    sent = await office.says("Thanks", thread="one@x.net")
    draft = office.composer.drafts[-1]
    assert _to(office) == ["bob@x.net", "carol@y.net"]
    assert (draft.subject, draft.in_reply_to, draft.references) == ("Re: The invoice", "one@x.net", ("one@x.net",))
    assert (draft.author.key, draft.author.name) == (BOX, "Alice")
    # What is answered to it, comes back into the thread.
    (answer,) = await office.comes(mail("two@x.net", in_reply_to=sent.ids))
    assert isinstance(answer, RemoteMessage)
    assert answer.thread == "one@x.net"


async def test_a_new_mail_begins_with_its_addresses() -> None:
    """To, Cc, Bcc and subject stand above it; what is answered to it is in its thread."""
    office = Office()
    sent = await office.says("To: Bob <bob@x.net>\nCc: carol@y.net\nBcc: d@z.net\nSubject: Hi  there\n\nHello Bob")
    draft = office.composer.drafts[-1]
    assert _to(office) == ["bob@x.net", "carol@y.net", "d@z.net"]
    assert [one.name for one in draft.to] == ["Bob"]
    assert (draft.subject, to_plain(draft.content.text)) == ("Hi there", "Hello Bob")
    assert "d@z.net" not in repr((draft.to, draft.cc))
    assert draft.reply_to is not None and draft.reply_to.tag()
    (answer,) = await office.comes(mail("two@x.net", author="new@x.net"), str(draft.reply_to))
    assert isinstance(answer, RemoteMessage)
    assert answer.thread == sent.ids[0]


async def test_nothing_is_sent_to_nobody() -> None:
    """A mail without an address goes back to its sender in words, and so does one with a bad address."""
    office = Office()
    with pytest.raises(RejectedError, match="say whom it is for"):
        await office.says("Hello?")
    with pytest.raises(RejectedError, match="bob is no mail address"):
        await office.says("To: bob\n\nHello")
    assert office.outbox.mails == {}


async def test_only_members_write_as_a_mailbox() -> None:
    """Whoever else is in the room is refused."""
    office = Office()
    await office.comes(mail())
    with pytest.raises(RejectedError, match="may not write"):
        await office.says("Hello", user=EVE, thread="one@x.net")


async def test_a_second_try_is_the_same_mail() -> None:
    """After a crash at any place: one mail, in the same conversation."""
    office = Office()
    first = await office.says("To: bob@x.net\nSubject: Hi\n\nHello", key="k")
    again = await office.says("To: bob@x.net\nSubject: Hi\n\nHello", key="k")
    assert first == again
    assert len(office.outbox.mails) == 1
    thread = await office.threads.of(BOX, first.ids[0])
    assert thread is not None and thread.references == first.ids


async def test_a_room_of_one_person_needs_no_address() -> None:
    """There, what is written goes on with the last conversation, or begins one by its first line."""
    office = Office()
    login = office.login()
    sent = await office.says("Hello Bob, how are you?\nFine?", "~/c/bob@x.net", own=login)
    assert (_to(office), office.composer.drafts[-1].subject) == (["bob@x.net"], "Hello Bob, how are you?")
    await office.says("And you?", "~/c/bob@x.net", own=login)
    assert office.composer.drafts[-1].references == sent.ids
    await office.says("Subject: Other\n\nThings", "~/c/bob@x.net", own=login)
    assert (office.composer.drafts[-1].subject, office.composer.drafts[-1].references) == ("Other", ())


async def test_a_lists_room_writes_to_the_list() -> None:
    """Answers and new mails there go to the address of the list alone."""
    office = Office()
    await office.comes(mail(list_id="dev.x.net", list_post="mailto:dev@x.net"))
    await office.says("Hi", f"{BOX}/l/dev.x.net", thread="one@x.net")
    assert _to(office) == ["dev@x.net"]
    await office.says("Subject: New\n\nHi", f"{BOX}/l/dev.x.net")
    assert _to(office) == ["dev@x.net"]


async def test_a_mail_is_changed_or_taken_back_while_it_is_held() -> None:
    """Then it is another mail, or none; afterwards its sender is told that it cannot be."""
    office = Office(composing={"corrections": False})
    sent = await office.says("To: bob@x.net\nSubject: Hi\n\nHello", key="k")
    await office.edits(sent.ids[0], "To: bob@x.net\nSubject: Hi\n\nHello!")
    assert (office.composer.drafts[-1].key, to_plain(office.composer.drafts[-1].content.text)) == ("k", "Hello!")
    await office.takes_back(sent.ids[0])
    with pytest.raises(RejectedError, match="only who wrote"):
        await office.edits(sent.ids[0], "x", BEN)
    office.outbox.held = False
    for change in (office.edits(sent.ids[0], "x"), office.takes_back(sent.ids[0])):
        with pytest.raises(RejectedError, match="on its way"):
            await change


async def test_reactions_go_to_those_who_see_them() -> None:
    """Refused in words until somebody there has reacted by mail."""
    office = Office()
    await office.comes(mail())
    with pytest.raises(UnsupportedError, match="reactions"):
        await office.reacts("one@x.net", "👍")
    await office.comes(mail("r@x.net", reaction=MailReaction("🎉"), in_reply_to=("one@x.net",)))
    await office.reacts("one@x.net", "👍")
    draft = office.composer.drafts[-1]
    assert (draft.reacts, draft.in_reply_to, _to(office)) == ("👍", "one@x.net", ["bob@x.net"])


@pytest.mark.parametrize(
    "text",
    [
        (Plain("Subject: only\nthen: text"),),
        (Paragraph((Plain("To: a@b.net\nSubject: x"),)), Paragraph((Plain("Body"),))),
    ],
)
def test_letterheads_are_read_in_any_form(text: RichText) -> None:
    """As plain text or as paragraphs; the rest is the mail."""
    found = letterhead(text)
    assert found.given
    assert "Subject" not in to_plain(found.text)


def test_what_is_no_letterhead_stays() -> None:
    """A field in the middle, or twice, is text."""
    for text in ("Hello\nTo: a@b.net", "Note: To: x"):
        assert letterhead((Plain(text),)).text == (Plain(text),)
    assert to_plain(letterhead((Plain("Cc: a@b.net\nCc: c@d.net"),)).text) == "Cc: c@d.net"
    with pytest.raises(LetterheadError):
        letterhead((Plain("To: a@b.net, nobody"),))
