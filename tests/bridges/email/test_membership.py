"""Who is in the rooms of a shared mailbox, in a whole bridge: its members, and nobody who was one."""

import smtplib
from pathlib import Path

import pytest

from bridge_core.api.ids import NetworkId, PortalKey
from bridges.email.chats import Chat
from tests.bridges.email.post import BOX, Post

ALICE, BEN = "@alice:hs.test", "@ben:hs.test"


async def test_who_is_taken_out_reads_no_further(tmp_path: Path) -> None:
    """At the next start they are put out of all rooms of the mailbox, old conversations too; who is new is invited."""
    threads = {BOX: {"members": [ALICE], "mode": "thread"}}
    async with Post(tmp_path, mailboxes=threads) as post:
        await post.sends("Hello\n", Subject="One")
        await post.sends("Hello\n", Subject="Two")
        portals = post.bridge.running.engine.portals

        def made() -> list[str]:
            return [row.rooms[0] for row in portals.of_network(NetworkId("mail")) if row.rooms]

        await post.bridge.until(lambda: len(made()) == 2)
        rooms = [post.bridge.homeserver.room(room) for room in made()]
        await post.bridge.until(lambda: all(room.membership(ALICE) == "invite" for room in rooms))
        for room in rooms:
            post.bridge.alice.join(room.id)
        await post.restarts(mailboxes={BOX: {"members": [BEN], "mode": "thread"}})
        for room in rooms:
            await post.bridge.until(
                lambda room=room: [room.membership(one) for one in (ALICE, BEN)] == ["leave", "invite"]
            )


async def test_a_member_who_cannot_come_stops_no_mail(tmp_path: Path) -> None:
    """One member is banned from the room: the mail is shown to the others, and nothing is set aside."""
    async with Post(tmp_path, mailboxes={BOX: {"members": [ALICE]}}) as post:
        await post.sends("Hello\n", Subject="Hi")
        room = await post.room()
        await post.seen(room, "Hello")
        there = post.bridge.homeserver.room(room)
        post.bridge.alice._world.set_member(there, there.creator, BEN, "ban")
        await post.restarts(mailboxes={BOX: {"members": [ALICE, BEN]}})
        await post.sends("Second\n", Subject="Again")
        await post.seen(room, "Second")
        assert there.membership(BEN) == "ban"


async def test_mail_waits_while_a_former_member_could_read_it(tmp_path: Path) -> None:
    """The homeserver does not put them out at first: what comes meanwhile is shown when they are out, not before."""
    async with Post(tmp_path, mailboxes={BOX: {"members": [ALICE, BEN]}}) as post:
        await post.sends("Hello\n", Subject="Hi")
        room = await post.room()
        await post.seen(room, "Hello")
        there = post.bridge.homeserver.room(room)
        post.bridge.homeserver.faults.answer(502, times=2, match="/kick")
        await post.restarts(mailboxes={BOX: {"members": [BEN]}})
        await post.sends("Secret\n", Subject="Again")
        secret = await post.seen(room, "Secret")
        assert there.membership(ALICE) == "leave"
        assert secret["event_id"] not in {event["event_id"] for event in post.bridge.alice.sees(room)}


async def test_the_mailbox_of_the_settings_has_a_portal(tmp_path: Path) -> None:
    """Before the first mail too, so that its members can be told of it."""
    async with Post(tmp_path) as post:
        key = PortalKey(NetworkId("mail"), Chat(BOX).id)
        await post.bridge.until(lambda: post.bridge.running.engine.portals.get(key))


async def test_the_first_mail_invites_who_never_spoke(tmp_path: Path) -> None:
    """Alice has an address by the settings and does not know: mail for it makes a room that only she is invited to.

    Whom the homeserver does not have gets none, and while it does not say the sender is told to come back.
    """
    async with Post(tmp_path, provide={"address": "{localpart}@example.org", "ahead": True}) as post:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            await post.sends("Hello\n", "nobody@example.org", Subject="Hi")
        assert refused.value.recipients["nobody@example.org"][0] == 550
        post.bridge.homeserver.faults.answer(502, times=1, match="profile/.*carol")
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            await post.sends("Hello\n", "carol@example.org", Subject="Hi")
        assert refused.value.recipients["carol@example.org"][0] == 451
        await post.sends("Hello Alice\n", "alice@example.org", Subject="Hi")
        portals = post.bridge.running.engine.portals

        def made() -> str | None:
            own = [row for row in portals.of_network(NetworkId("mail")) if row.receiver == "alice@example.org"]
            return own[0].rooms[0] if own and own[0].rooms else None

        room = str(await post.bridge.until(made))
        post.bridge.alice.join(room)
        await post.seen(room, "Hello Alice")
