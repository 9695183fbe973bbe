"""An email network in a whole bridge: what comes by SMTP is in the rooms, and what is written there goes out."""

import asyncio
import smtplib
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bridges.email.demo.elsewhere import hand_over
from tests.bridges.email.post import BOX, PNG, Post


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_conversation_both_ways(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Handed over by SMTP, said by its author's ghost; answered from Matrix; what is answered to that is in the thread.

    On plain asyncio and on uvloop, which the bridge itself runs on.
    """

    async def conversation() -> None:
        async with Post(tmp_path) as post:
            await post.sends("Hello\n", Subject="The invoice", Message_ID="<one@x.net>")
            room = await post.room()
            event = await post.seen(room, "Hello")
            assert event["sender"].startswith("@_mail_")
            assert "The invoice" in event["content"]["body"]
            thread: dict[str, Any] = {"m.relates_to": {"rel_type": "m.thread", "event_id": event["event_id"]}}
            post.bridge.alice.send(room, "Hello Bob", **thread)
            mail = await post.elsewhere.wait_for(lambda one: "Hello Bob" in one.text, "the answer", 60)
            assert mail.recipients == ("bob@x.net",)
            assert mail.mail["In-Reply-To"] == "<one@x.net>"
            await post.sends("Again\n", Subject="Re: The invoice", In_Reply_To=str(mail.mail["Message-ID"]))
            answer = await post.seen(room, "Again")
            assert answer["content"]["m.relates_to"]["event_id"] == event["event_id"]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(conversation())


async def test_a_report_is_told_where_the_mail_was_written(tmp_path: Path) -> None:
    """What the other server refuses is said to who wrote it, in its words; nothing else is undone by it."""
    async with Post(tmp_path) as post:
        await post.sends("Hello\n", Subject="Hi")
        room = await post.room()
        await post.seen(room, "Hello")
        post.bridge.alice.send(room, "To: nobody@y.net, carol@y.net\nSubject: News\n\nHear this")
        await post.elsewhere.wait_for(lambda one: one.recipients == ("carol@y.net",), "the mail to carol", 60)
        notice = await post.seen(room, "was not delivered")
        assert "nobody@y.net" in notice["content"]["body"]


async def test_nobody_writes_as_our_own_domain(tmp_path: Path) -> None:
    """Mail that says it is from a domain of ours is refused where no password was given; from elsewhere it comes in."""
    async with Post(tmp_path) as post:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await post.sends("Give me the money\n", Subject="From your boss", author="boss@example.org")
        assert refused.value.smtp_code == 550
        await post.sends("Hello\n", Subject="Hi")
        await post.seen(await post.room(), "Hello")


async def test_only_members_come_into_a_mailbox(tmp_path: Path) -> None:
    """The room of a mailbox is for who is invited, and says which it is."""
    async with Post(tmp_path) as post:
        await post.sends("Hello\n", Subject="Hi")
        room = post.bridge.homeserver.room(await post.room())
        assert (room.content("m.room.join_rules") or {})["join_rule"] == "invite"
        assert BOX in (room.content("m.room.topic") or {})["topic"]


async def test_who_is_not_proved_is_somebody_else(tmp_path: Path) -> None:
    """A mail that nobody answers for is not said by the ghost of who it says it is from."""
    async with Post(tmp_path) as post:
        await post.sends("Hello\n", Subject="Hi")
        room = await post.room()
        true = await post.seen(room, "Hello")
        await post.sends("Give me money\n", Subject="Hi", verified=False)
        false = await post.seen(room, "Give me money")
        assert false["sender"] != true["sender"]
        assert "nobody answers for bob@x.net" in false["content"]["body"]


async def test_a_picture_stays_at_its_place(tmp_path: Path) -> None:
    """An inline image of a mail is on Matrix, within the text, and opens there."""
    async with Post(tmp_path) as post:
        await post.sends_html("<p>See <img src='cid:logo@x' alt='our logo'> here</p>", {"logo@x": PNG}, Subject="Hi")
        room = await post.room()
        event = await post.seen(room, "here")
        html = event["content"]["formatted_body"]
        assert "mxc://" in html and 'alt="logo.png"' in html


async def test_nobody_else_bridges_a_room_to_a_mailbox(tmp_path: Path) -> None:
    """A user of the bridge who is no member asks for a mailbox's mail in a room of their own: refused in words."""
    async with Post(tmp_path) as post:
        await post.sends("Hello\n", Subject="Hi")
        await post.seen(await post.room(), "Hello")
        eve = post.bridge.homeserver.user("eve")
        room = eve.create_room(invite=[post.bridge.homeserver.bot, "@carol:hs.test"])
        there = post.bridge.homeserver.room(room)
        await post.bridge.until(lambda: there.membership(post.bridge.homeserver.bot) == "join")
        eve.send(room, f"!bridge bridge mail {BOX}")
        answer = await post.seen(room, "whom its admin names")
        assert answer["sender"] == post.bridge.homeserver.bot
        await post.sends("Secret\n", Subject="Hi")
        await post.seen(await post.room(), "Secret")
        await post.bridge.settled()
        assert not any("Secret" in str(event) for event in post.bridge.homeserver.room(room).timeline)


async def test_what_a_script_says_each_night_is_said_each_night(tmp_path: Path) -> None:
    """The same words without a Message-ID, given twice by who heard of the first 250, are two mails in the room."""
    async with Post(tmp_path) as post:
        for _ in range(2):
            await post.sends("All is well\n", Subject="Nightly")
        await post.sends("The last\n", Subject="Nightly")
        room = await post.room()
        await post.seen(room, "The last")
        said = [one for one in post.bridge.homeserver.room(room).timeline if "All is well" in str(one)]
        assert len(said) == 2
        shown = b'matrix_bridge_email_ended_total{network="mail",outcome="shown"} 3.0'
        await post.bridge.until(lambda: shown in post.bridge.running.metrics.render())
        assert (
            b'matrix_bridge_email_came_total{network="mail",source="smtp"} 3.0' in post.bridge.running.metrics.render()
        )


async def test_reactions_of_members_without_a_login(tmp_path: Path) -> None:
    """Who has a shared mailbox and no address of their own reacts by mail too, once the other side has done so."""
    async with Post(tmp_path, provide={}) as post:
        await post.sends("Hello\n", Subject="Cake", Message_ID="<one@x.net>")
        room = await post.room()
        root = await post.seen(room, "Hello")
        thread: dict[str, Any] = {"m.relates_to": {"rel_type": "m.thread", "event_id": root["event_id"]}}
        post.bridge.alice.send(room, "There is cake", **thread)
        sent = await post.elsewhere.wait_for(lambda one: "There is cake" in one.text, "the answer", 60)
        reaction = EmailMessage()
        reaction["From"], reaction["To"], reaction["Subject"] = "Bob <bob@x.net>", BOX, "Re: Cake"
        reaction["In-Reply-To"], reaction["Message-ID"] = str(sent.mail["Message-ID"]), "<two@x.net>"
        reaction.set_content("\N{THUMBS UP SIGN}")
        reaction["Content-Disposition"] = "reaction"
        await hand_over(post.port, reaction, "bob@x.net", BOX)
        await post.bridge.homeserver.wait_event(room, lambda e: e["type"] == "m.reaction")
        post.bridge.alice.react(room, root["event_id"], "\N{PARTY POPPER}")
        mail = await post.elsewhere.wait_for(lambda one: b"disposition: reaction" in one.data.lower(), "the mail", 60)
        assert mail.recipients == ("bob@x.net",)
