"""What is changed or taken back after it was written, and who is written to no more."""

import pytest

from bridge_core.api.commands import CommandCall
from bridge_core.api.content import Kind
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import Membership, RemoteMember, RemoteMessage
from bridge_core.api.ids import ChatId, UserId
from bridge_core.content import to_plain
from bridges.email.codec.addresses import parse_address
from bridges.email.headcommands import HeadCommands
from bridges.email.mail import MailReaction
from tests.bridges.email.office import ALICE, BOX, EVE, Office, mail, text_of

BEN = UserId("@ben:hs.test")
CAROL = parse_address("carol@y.net")
TEXT = "To: bob@x.net\nCc: carol@y.net\nBcc: dan@z.net\nSubject: Hi\n\nHello"


def _to(office: Office, number: int = -1) -> list[str]:
    return [str(one) for one in list(office.outbox.mails.values())[number][1]]


def _notices(office: Office) -> list[str]:
    return [text_of(one) for one in office.inbox.messages if one.content.kind is Kind.NOTICE]


# Edits and redactions


async def test_an_edit_after_the_hold_is_a_correction() -> None:
    """To the same people, blind copies too, as an answer to the mail; its room is told; tried again, it is the same."""
    office = Office()
    (sent,) = (await office.says(TEXT, key="k")).ids
    office.outbox.held = False
    first = await office.edits(sent, "Better", key="edit")
    assert first == await office.edits(sent, "Better", key="edit")
    assert len(office.outbox.mails) == 2
    assert _to(office) == ["bob@x.net", "carol@y.net", "dan@z.net"]
    draft = office.composer.drafts[-1]
    assert (draft.edits, draft.in_reply_to, draft.references, draft.subject) == (sent, sent, (sent,), "Hi")
    assert (to_plain(draft.content.text), [one.key for one in draft.cc]) == ("Better", ["carol@y.net"])
    assert _notices(office)[-1].startswith("The mail was on its way already: a correction follows it")
    assert {one.thread for one in office.inbox.messages} == {sent}
    # What is answered to it is in the conversation.
    (answer,) = await office.comes(mail("two@x.net", in_reply_to=first.ids))
    assert isinstance(answer, RemoteMessage)
    assert answer.thread == sent


async def test_a_correction_that_is_held_is_made_better() -> None:
    """Further edits change it, as long as it is held: nobody gets a mail for each."""
    office = Office()
    (sent,) = (await office.says(TEXT, key="k")).ids
    office.outbox.held = False
    (correction,) = (await office.edits(sent, "Better", key="e1")).ids
    gone = {sent}

    async def replace(message: str, mailbox: object, mail: object) -> bool:
        return message not in gone

    office.outbox.replace = replace  # type: ignore[method-assign]
    await office.edits(sent, "Best", key="e2")
    assert office.composer.drafts[-1].key == "e1"
    assert len(office.outbox.mails) == 2
    office.outbox.held = True
    await office.takes_back(sent)
    assert office.outbox.cancelled == [correction, sent]


async def test_what_was_taken_back_is_not_corrected() -> None:
    """Nobody got the mail: an edit that comes late sends them nothing."""
    office = Office()
    (sent,) = (await office.says(TEXT)).ids
    await office.takes_back(sent)
    office.outbox.held = False
    with pytest.raises(RejectedError, match="on its way"):
        await office.edits(sent, "Better")
    assert len(office.outbox.mails) == 1


async def test_what_was_taken_back_is_named_by_no_answer() -> None:
    """Nobody has that mail: what is written next answers the last one that went out, or none."""
    office = Office()
    await office.comes(mail())
    thread = await office.threads.of(BOX, "one@x.net")
    assert thread is not None
    (sent,) = (await office.says("Hello", key="k", thread=thread.root)).ids
    assert (await office.threads.of(BOX, sent)).references == ("one@x.net", sent)  # type: ignore[union-attr]
    await office.takes_back(sent)
    await office.says("Hello again", key="l", thread=thread.root)
    draft = office.composer.drafts[-1]
    assert (draft.in_reply_to, draft.references) == ("one@x.net", ("one@x.net",))


async def test_only_own_mails_are_changed() -> None:
    """A mail that came cannot be changed or taken back, and the words do not say that it is on its way."""
    office = Office()
    await office.comes(mail())
    with pytest.raises(UnsupportedError, match="written here"):
        await office.edits("one@x.net", "x")
    office.outbox.held = False
    with pytest.raises(RejectedError, match="written here"):
        await office.takes_back("one@x.net")
    # What a mail program submitted is taken back while it is held.
    office.outbox.held = True
    await office.takes_back("submitted@example.org")
    assert office.outbox.cancelled == ["submitted@example.org"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_who_can_is_asked_to_delete(wanted: bool) -> None:
    """After the hold, where the settings say so, of those whose programs know it; others are told nothing."""
    office = Office(composing={"withdrawals": wanted})
    (sent,) = (await office.says(TEXT)).ids
    office.outbox.held = False
    with pytest.raises(RejectedError, match="on its way"):
        await office.takes_back(sent)
    await office.comes(mail("two@x.net", in_reply_to=(sent,), messenger=True, reads_reactions=True))
    if not wanted:
        with pytest.raises(RejectedError, match="on its way"):
            await office.takes_back(sent)
        return
    await office.takes_back(sent)
    draft = office.composer.drafts[-1]
    assert (draft.redacts, _to(office), draft.cc, to_plain(draft.content.text)) == (sent, ["bob@x.net"], (), "")
    assert _notices(office) == ["The mail was on its way already. Asked to delete it: bob@x.net; the others keep it."]


async def test_a_reaction_is_taken_back_while_it_is_held() -> None:
    """Afterwards its sender is told that mail programs take none back."""
    office = Office()
    await office.comes(mail(cc=(CAROL,)))
    await office.comes(mail("r@x.net", reaction=MailReaction("🎉"), in_reply_to=("one@x.net",)))
    (sent,) = (await office.reacts("one@x.net", "👍")).ids
    # Carol's program is not known to show it: to her it would be an odd mail.
    assert _to(office) == ["bob@x.net"]
    await office.takes_back(sent, reaction="👍")
    assert office.outbox.cancelled == [sent]
    office.outbox.held = False
    with pytest.raises(RejectedError, match="take none back"):
        await office.takes_back(sent, reaction="👍")


# Who takes part


async def test_who_is_removed_is_not_written_to() -> None:
    """A ghost that is kicked gets no answers from there, nor corrections; the room is told; by name they are back."""
    office = Office()
    (sent,) = (await office.says("To: bob@x.net\nCc: carol@y.net\nSubject: Hi\n\nHello")).ids
    await office.removes("carol@y.net")
    await office.removes("carol@y.net")
    assert "carol@y.net is not written to any more" in _notices(office)[0]
    await office.says("More", thread=sent)
    assert _to(office) == ["bob@x.net"]
    # Not even when others write to them still.
    await office.comes(mail("two@x.net", in_reply_to=(sent,), cc=(CAROL,)))
    await office.says("More", thread=sent)
    assert _to(office) == ["bob@x.net"]
    office.outbox.held = False
    await office.edits(sent, "Better")
    assert _to(office) == ["bob@x.net"]
    await office.says("Cc: carol@y.net\n\nBoth", thread=sent)
    await office.says("Both", thread=sent)
    assert _to(office) == ["bob@x.net", "carol@y.net"]


async def test_who_is_invited_is_written_to() -> None:
    """In a conversation's own room: a ghost that is invited is in it, and gets the answers."""
    office = Office(mailboxes={BOX: {"members": [ALICE], "mode": "thread"}})
    await office.comes(mail())
    room = office.inbox.messages[-1].chat
    await office.removes("carol@y.net", room, change=Membership.INVITE)
    joined = office.inbox.events[-1]
    assert isinstance(joined, RemoteMember)
    assert (joined.member.id, joined.membership) == ("carol@y.net", Membership.JOIN)
    await office.says("Hi", room)
    assert _to(office) == ["bob@x.net", "carol@y.net"]
    await office.removes("bob@x.net", room)
    await office.says("Hi", room)
    assert _to(office) == ["carol@y.net"]
    await office.removes("carol@y.net", room)
    with pytest.raises(RejectedError, match="nobody else"):
        await office.says("Hi", room)


async def test_a_room_of_several_conversations_asks_which() -> None:
    """There an invitation is refused in words, but for who was removed; strangers to the mailbox change nothing."""
    office = Office()
    await office.comes(mail())
    with pytest.raises(RejectedError, match="on top of what goes there too"):
        await office.removes("carol@y.net", change=Membership.INVITE)
    await office.removes("bob@x.net")
    await office.removes("bob@x.net", change=Membership.INVITE)
    await office.says("Hi", thread="one@x.net")
    assert _to(office) == ["bob@x.net"]
    with pytest.raises(RejectedError, match="may not write"):
        await office.removes("bob@x.net", user=EVE)


# Commands


async def _says(office: Office, name: str, user: UserId = ALICE, chat: str = BOX, **arguments: str) -> str:
    (command,) = (one for one in HeadCommands(lambda: office).commands() if one.name == name)
    return await command.run(CommandCall(user, command.level, arguments, ChatId(chat)))


async def test_commands_say_whom_the_next_mail_is_for() -> None:
    """Of who said them, in that room, once; beside the mail's own lines."""
    office = Office()
    await _says(office, "to", addresses="bob@x.net")
    await _says(office, "subject", text="The  invoice")
    await _says(office, "cc", addresses="carol@y.net dan@z.net")
    said = await _says(office, "bcc", addresses="Eve <eve@z.net>")
    assert said.split("\n")[1:] == [
        "To: bob@x.net", "Cc: carol@y.net, dan@z.net", "Bcc: eve@z.net", "Subject: The invoice"
    ]  # fmt: skip
    with pytest.raises(RejectedError, match="say whom"):
        await office.says("Hello", user=BEN)
    (sent,) = (await office.says("Cc: frank@z.net\n\nHello")).ids
    draft = office.composer.drafts[-1]
    assert (draft.subject, to_plain(draft.content.text)) == ("The invoice", "Hello")
    assert _to(office) == ["bob@x.net", "carol@y.net", "dan@z.net", "frank@z.net", "eve@z.net"]
    with pytest.raises(RejectedError, match="say whom"):
        await office.says("Hello")
    await office.edits(sent, "Cc: frank@z.net\n\nBetter")
    await _says(office, "cc", addresses="gus@z.net")
    await office.says("More", thread=sent)
    assert _to(office) == ["bob@x.net", "carol@y.net", "dan@z.net", "frank@z.net", "gus@z.net"]


async def test_commands_can_be_forgotten() -> None:
    """By a word, or after an hour; and only members of the mailbox say them."""
    office = Office()
    for forgotten in (True, False):
        await _says(office, "to", addresses="bob@x.net")
        if forgotten:
            await _says(office, "forget-head")
        else:
            office.host.clock.turn(3601)
        with pytest.raises(RejectedError, match="say whom"):
            await office.says("Hello")
    with pytest.raises(RejectedError, match="may not write"):
        await _says(office, "to", EVE, addresses="bob@x.net")
    with pytest.raises(RejectedError, match="no mail address"):
        await _says(office, "cc", addresses="bob")
    await office.comes(mail(cc=(CAROL,)))
    assert "not written to" in await _says(office, "remove", address="carol@y.net")
    await office.says("Hi", thread="one@x.net")
    assert _to(office) == ["bob@x.net"]
