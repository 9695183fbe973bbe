"""Strangers who have to be let in, in a whole bridge."""

from pathlib import Path
from typing import Any

from bridge_core.api.ids import ChatId, NetworkId
from bridges.email.client import EmailClient
from tests.bridges.email.office import Office
from tests.bridges.email.post import BOX, Post

ASKING = {BOX: {"members": ["@alice:hs.test"], "strangers": "ask"}}


async def test_a_stranger_is_let_in_by_a_word_in_the_room(tmp_path: Path) -> None:
    """The room is told who and about what, and nothing else; what it is told to say there shows the mail."""
    async with Post(tmp_path, mailboxes=ASKING) as post:
        await post.sends("Come to my party\n", Subject="A surprise")
        room = await post.room()
        asked = await post.seen(room, "bob@x.net wants to write to you")
        body = asked["content"]["body"]
        assert "A surprise" in body and "party" not in body
        command = body.partition("`")[2].partition("`")[0]
        post.bridge.alice.send(room, command)
        await post.seen(room, "Come to my party")


async def test_who_is_blocked_stays_out(tmp_path: Path) -> None:
    """The other word: what waits is gone, what comes later is shown to nobody, and others are not touched."""
    async with Post(tmp_path, mailboxes=ASKING) as post:
        await post.sends("Come to my party\n", Subject="A surprise")
        room = await post.room()
        asked = await post.seen(room, "bob@x.net wants to write to you")
        post.bridge.alice.send(room, asked["content"]["body"].split("`")[3])
        await post.seen(room, "is not shown any more")
        await post.sends("Come to my party now\n", Subject="A surprise")
        await post.sends("Hello\n", Subject="Something else", author="zoe@y.net")
        await post.seen(room, "zoe@y.net wants to write to you")
        assert not any("party" in body for _, body in post.bridge.homeserver.messages(room))


async def test_a_reaction_to_the_request_is_the_mailboxs_word(tmp_path: Path) -> None:
    """Thumbs up shows what waits, thumbs down none of it; of people who are no members it says nothing."""
    async with Post(tmp_path, mailboxes=ASKING) as post:
        alice, eve = post.bridge.alice, post.bridge.homeserver.user("eve")
        await post.sends("Come to my party\n", Subject="A surprise")
        await post.sends("Buy this\n", Subject="An offer", author="zoe@y.net")
        room = await post.room()
        bob = await post.seen(room, "bob@x.net wants to write to you")
        zoe = await post.seen(room, "zoe@y.net wants to write to you")
        alice.invite(room, eve.id)
        eve.join(room)
        eve.react(room, zoe["event_id"], "👍")
        alice.react(room, zoe["event_id"], "👎\ufe0f")
        alice.react(room, bob["event_id"], "👍🏽")
        await post.seen(room, "Come to my party")
        await post.bridge.settled()
        assert not any("Buy this" in body for _, body in post.bridge.homeserver.messages(room))
        requests = post.bridge.running.networks.get(NetworkId("mail"))
        assert requests is not None
        assert requests.connector._running().requests.mails == 0  # type: ignore[attr-defined]


async def test_a_correspondents_room_is_named_after_them() -> None:
    """Mail for an address that its user got just now: the room says who writes, never how we name rooms inside."""
    office: Any = Office()
    client = EmailClient(NetworkId("mail"), office.config, lambda: office, office.inbox, None)
    for chat, name in (("~/c/unverified:pat@elsewhere.test", "pat@elsewhere.test"), ("~/l/list.x.net", "list.x.net")):
        found = await client.chat_info(ChatId(chat))
        assert found is not None and found.name == name
    assert await client.chat_info(ChatId("nobody@example.org")) is None
