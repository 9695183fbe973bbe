"""A chat in several rooms: what is said in one is seen in the others, once and in order, or said to have not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.api.network import Sent
from bridge_core.engine.barred import allows
from bridge_core.engine.roomrules import RoomRules
from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.scripted import Script

PROFILE = "com.beeper.per_message_profile"
LOBBY = PortalKey(NetworkId("net"), ChatId("lobby"))


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def plumbed(bridge: Harness, owner: FakeUser, name: str = "lobby") -> str:
    """A further room of the chat, somebody's own."""
    room = owner.create_room(invite=[bridge.homeserver.bot], power_level_content_override={"events_default": 0})
    engine = bridge.running.engine
    portal = await engine.portals.ensure(NetworkId("net"), ChatId(name))
    await engine.rooms.adopt(portal, RoomId(room), by=owner.id)
    return room


def said(bridge: Harness, room: str) -> list[tuple[str, str]]:
    """Who said what there, without what the bot said of itself."""
    return [
        (who, text)
        for who, text in bridge.homeserver.messages(room)
        if text and not text.startswith(("\u26a0", "Hello!"))
    ]


async def seen(bridge: Harness, room: str, text: str) -> dict[str, Any]:
    """The event that says it."""
    return dict(await bridge.homeserver.wait_event(room, lambda e: e["content"].get("body") == text))


async def test_it_is_seen_in_the_other_rooms_under_the_users_name(bridge: Harness, script: Script) -> None:
    """What the chat has is said in its other rooms by the bot, with the sender's profile, and nowhere twice."""
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    for number in range(20):
        bridge.alice.send(first, f"m{number}")
    copy = await seen(bridge, second, "alice: m19")
    await bridge.settled()
    bot = bridge.homeserver.bot
    assert said(bridge, second) == [(bot, f"alice: m{number}") for number in range(20)]
    assert copy["content"][PROFILE]["id"] == bridge.alice.id
    assert script.texts() == [f"m{number}" for number in range(20)]
    assert said(bridge, first) == [(bridge.alice.id, f"m{number}") for number in range(20)]
    audit = await bridge.running.journal.audit()
    assert audit.holds, audit.balances
    assert audit.balances["net", 1].delivered == 20


async def test_answers_edits_and_redactions_go_with_it(bridge: Harness, script: Script) -> None:
    """A reply answers the same message in each room, an edit changes the copy, a redaction takes it back."""
    script.answer = lambda message, attempt: Sent((MessageId(f"id-{attempt.key}"),))
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    event = bridge.alice.send(first, "question")
    copy = await seen(bridge, second, "alice: question")
    bob.reply(second, copy["event_id"], "answer")
    answer = await seen(bridge, first, "bob: answer")
    assert answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == event
    bridge.alice.edit(first, event, "better question")
    edited = await bridge.homeserver.wait_event(second, lambda e: "m.new_content" in e["content"])
    assert edited["content"]["m.new_content"]["body"] == "alice: better question"
    assert edited["content"]["m.relates_to"] == {"rel_type": "m.replace", "event_id": copy["event_id"]}
    bridge.alice.redact(first, event)
    gone = await bridge.homeserver.wait_event(second, lambda e: e["type"] == "m.room.redaction")
    assert (gone.get("redacts") or gone["content"]["redacts"]) == copy["event_id"]


async def test_one_reaction_of_the_bot_stands_for_all(bridge: Harness, script: Script) -> None:
    """The same reaction of two users is one in another room, and goes when both have taken it back."""
    script.answer = lambda message, attempt: Sent((MessageId(f"id-{attempt.key}"),))
    bob, carol = bridge.homeserver.user("bob"), bridge.homeserver.user("carol")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    carol.join(first)
    assert script.inbox is not None
    await script.inbox.receive(
        [
            RemoteMessage(
                ChatId("lobby"), RemoteSender(RemoteUserId("rob"), "Rob"), Content((Plain("hi"),)), MessageId("m")
            )
        ]
    )
    here, there = await seen(bridge, first, "hi"), await seen(bridge, second, "hi")
    one = bridge.alice.react(first, here["event_id"], "\U0001f44d")
    two = carol.react(first, here["event_id"], "\U0001f44d")
    await bridge.settled()

    def reactions() -> list[Any]:
        events = bob.sees(second)
        return [event for event in events if event["type"] == "m.reaction" and event["content"]]

    (reaction,) = reactions()
    assert reaction["sender"] == bridge.homeserver.bot
    assert reaction["content"]["m.relates_to"]["event_id"] == there["event_id"]
    bridge.alice.redact(first, one)
    await bridge.settled()
    assert len(reactions()) == 1
    carol.redact(first, two)
    await bridge.settled()
    assert reactions() == []


async def test_moderators_of_one_room_do_not_moderate_the_others(bridge: Harness, script: Script) -> None:
    """What somebody else than its author takes back in one room stays in the others."""
    script.answer = lambda message, attempt: Sent((MessageId(f"id-{attempt.key}"),))
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    event = bridge.alice.send(first, "hello")
    copy = await seen(bridge, second, "alice: hello")
    bob.redact(second, copy["event_id"])
    await bridge.settled()
    assert next(one for one in bridge.alice.sees(first) if one["event_id"] == event)["content"]["body"] == "hello"


async def test_what_the_chat_refuses_is_copied_nowhere(bridge: Harness, script: Script) -> None:
    """A message that the network rejects stays in its room; one that it cannot carry is seen in the others."""

    def answer(message: Any, attempt: Any) -> Sent:
        text = message.content.text[0].text
        if text == "forbidden":
            raise RejectedError("moderated")
        if text == "odd":
            raise UnsupportedError("no such things here")
        return Sent()

    script.answer = answer
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    for text in ("forbidden", "odd", "fine"):
        bridge.alice.send(first, text)
    await seen(bridge, second, "alice: fine")
    assert [text for _, text in said(bridge, second)] == ["alice: odd", "alice: fine"]


async def test_who_is_banned_there_is_not_heard_through_the_bot(bridge: Harness) -> None:
    """A room's ban holds for what its target says in the chat's other rooms, and they are told."""
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    bridge.alice.send(first, "before")
    await seen(bridge, second, "alice: before")
    event = bridge.alice.send(first, "regretted")
    copy = await seen(bridge, second, "alice: regretted")
    bob.ban(second, bridge.alice.id)
    await bridge.homeserver.wait_pushed()
    bridge.alice.redact(first, event)
    await bridge.homeserver.wait_event(
        second, lambda e: copy["event_id"] in (e.get("redacts"), e["content"].get("redacts"))
    )
    bridge.alice.send(first, "after")
    await bridge.homeserver.wait_event(first, lambda e: "you are banned there" in str(e["content"].get("body")))
    await bridge.settled()
    assert [text for _, text in said(bridge, second)] == ["alice: before"]
    bob.set_state(second, "m.room.server_acl", {"allow": ["*"], "deny": ["hs.*"]})
    await bridge.homeserver.wait_pushed()
    carol = bridge.homeserver.user("carol")
    carol.join(first)
    carol.send(first, "from a denied server")
    await bridge.homeserver.wait_event(first, lambda e: "homeserver is not let in" in str(e["content"].get("body")))


async def test_a_ban_holds_for_copies_on_their_way(bridge: Harness) -> None:
    """Who is banned from a room while a copy waits for the homeserver is not shown there when it is back."""
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    bridge.homeserver.faults.answer(502, times=1_000_000, match="/send/m.room.message")
    bridge.alice.send(first, "too late")
    await bridge.until(lambda: bridge.running.journal.counters().get(("net", 1, "targets"), 0) >= 1)
    bob.ban(second, bridge.alice.id)
    await bridge.homeserver.wait_pushed()
    bridge.homeserver.faults.clear()
    await bridge.settled()
    assert said(bridge, second) == []


@pytest.mark.parametrize("what", ["source", "rules"])
async def test_copies_on_their_way_are_wanted_still(bridge: Harness, what: str) -> None:
    """A copy that waits for the homeserver is not shown when the room it is from is no room of the chat any more, or
    one of the two wants no copies now."""
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    bridge.homeserver.faults.answer(502, times=1_000_000, match="/send/m.room.message")
    bridge.alice.send(first, "too late")
    await bridge.until(lambda: bridge.running.journal.counters().get(("net", 1, "targets"), 0) >= 1)
    engine = bridge.running.engine
    portal = engine.portals.get(LOBBY)
    assert portal is not None
    if what == "source":
        await engine.portals.remove_room(portal, RoomId(first))
    else:
        await engine.room_features.rules.keep(RoomId(second), RoomRules(copies=False))
    bridge.homeserver.faults.clear()
    await bridge.settled()
    assert said(bridge, second) == []


async def test_as_the_user_where_the_bridge_may(bridge: Harness) -> None:
    """With a double puppet a user's words are their own in the rooms that they are in, and come back to no room."""
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    bob.invite(second, bridge.alice.id)
    bridge.alice.join(second)
    await bridge.homeserver.wait_pushed()
    early = bridge.alice.send(first, "early")
    await seen(bridge, second, "alice: early")
    await bridge.running.engine.puppets.log_in(UserId(bridge.alice.id), bridge.alice.token)
    bridge.alice.edit(first, early, "late")
    edited = await bridge.homeserver.wait_event(second, lambda e: "m.new_content" in e["content"])
    assert edited["sender"] == bridge.homeserver.bot
    bridge.alice.send(first, "it is me")
    copy = await seen(bridge, second, "it is me")
    assert copy["sender"] == bridge.alice.id
    assert PROFILE not in copy["content"]
    bridge.alice.edit(second, copy["event_id"], "it is still me")
    await bridge.homeserver.wait_event(
        first, lambda e: e["content"].get("m.new_content", {}).get("body") == "it is still me"
    )
    await bridge.settled()
    assert said(bridge, first)[2:] == [(bridge.alice.id, "it is me"), (bridge.alice.id, "* it is still me")]
    assert said(bridge, second)[2:] == said(bridge, first)[2:]


async def test_a_copy_survives_a_restart_and_a_silent_homeserver(bridge: Harness) -> None:
    """What the chat has while the homeserver answers nothing is copied after a restart, once."""
    bob = bridge.homeserver.user("bob")
    first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
    bridge.alice.send(first, "one")
    await seen(bridge, second, "alice: one")
    bridge.homeserver.faults.answer(502, times=1_000_000, match="PUT ")
    bridge.alice.send(first, "two")
    await bridge.until(lambda: bridge.running.journal.counters().get(("net", 0, "delivered"), 0) >= 2)
    await bridge.stop_bridge()
    bridge.homeserver.faults.clear()
    await bridge.start_bridge()
    await seen(bridge, second, "alice: two")
    await bridge.settled()
    assert [text for _, text in said(bridge, second)] == ["alice: one", "alice: two"]


async def test_an_admin_of_the_bridge_may_turn_it_off(tmp_path: Path, script: Script) -> None:
    """With `copy_between_rooms: false` rooms of one chat know nothing of one another."""
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "copy_between_rooms": False}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        bob = bridge.homeserver.user("bob")
        first, second = await bridge.portal_room("net", "lobby"), await plumbed(bridge, bob)
        bridge.alice.send(first, "hello")
        await bridge.until(lambda: script.texts() == ["hello"])
        await bridge.settled()
        assert said(bridge, second) == []


@pytest.mark.parametrize(
    ("content", "let_in"),
    [
        ({}, True),
        ({"allow": ["*"]}, True),
        ({"allow": []}, False),
        ({"deny": ["evil.test"]}, False),
        ({"allow": ["*"], "deny": ["EVIL.*"]}, False),
        ({"allow": ["*"], "deny": ["other.test"]}, True),
        ({"allow": ["*"], "deny": "evil.test"}, True),
        ({"allow": ["good.test"]}, False),
    ],
)
def test_access_lists_of_servers(content: dict[str, Any], let_in: bool) -> None:
    """A server is in when something allows it and nothing denies it, whatever its port."""
    assert allows(content, "evil.test:8448") is let_in
    assert allows({"allow": ["*"], "allow_ip_literals": False}, "192.0.2.1:8448") is False
