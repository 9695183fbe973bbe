"""Memberships and powers made to hurt: from networks, and from people on Matrix."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge_core.api.events import (
    MemberPower,
    Membership,
    RemoteEvent,
    RemoteMember,
    RemoteMembers,
    RemotePower,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, LoginId, RemoteUserId
from tests.harness import Harness
from tests.invariants.scenes import balances, receive, said, say
from tests.scripted import Script

_text = st.text(max_size=12) | st.sampled_from(["", "\0", "\ud800", "\u202e", "x" * 3000])
_ids = st.sampled_from(["1", "2", "\x1f", "\0", "x" * 500, "ü"]) | st.text(min_size=1, max_size=3)
_people = st.builds(
    RemoteSender, _ids.map(RemoteUserId), st.none() | _text, st.none() | st.just(LoginId("@nobody:hs.test"))
)
_chats = st.sampled_from([ChatId("lobby"), ChatId("lobby"), ChatId("nowhere")])
_levels = st.sampled_from([0, 50, 100, -1, 2**53, -(2**62), 2**62])
_events = st.one_of(
    st.builds(RemoteMember, _chats, _people, st.sampled_from(list(Membership)), st.none() | _people, st.none() | _text),
    st.builds(RemoteMembers, _chats, st.lists(_people, max_size=4).map(tuple)),
    st.builds(
        RemotePower,
        _chats,
        st.lists(st.builds(MemberPower, _people, _levels), max_size=4).map(tuple),
        st.none() | _people,
        st.booleans(),
    ),
)


@pytest.fixture
def script() -> Script:
    """A network that moderates."""
    made = Script()
    made.moderates = True
    return made


async def test_no_membership_can_stop_a_chat(bridge: Harness, script: Script) -> None:
    """Odd names, ids, logins, levels and orders of coming and going: all of it ends, none as an internal error."""
    room = await bridge.portal_room("net", "lobby")
    examples: list[list[RemoteEvent]] = []

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(_events, min_size=1, max_size=6))
    def collect(events: list[RemoteEvent]) -> None:
        examples.append(events)

    collect()
    assert script.inbox is not None
    for events in examples:
        await script.inbox.receive(events)
    await receive(bridge, script, say("still here"))
    assert said(bridge, room, "bob") == ["still here"]
    await balances(bridge)
    database = bridge.running.database
    internal = await database.reader.run(
        lambda connection: connection.exec_driver_sql(
            "SELECT id, last_error FROM journal_entry WHERE state = 2 AND last_error LIKE 'internal%'"
        ).fetchall()
    )
    assert internal == []
    assert bridge.alice.id in bridge.homeserver.room(room).members()
    assert bridge.homeserver.bot in bridge.homeserver.room(room).members()
    levels = bridge.homeserver.room(room).content("m.room.power_levels") or {}
    assert all(isinstance(level, int) and level <= 50 for user, level in levels["users"].items() if "_net_" in user)


async def test_a_network_cannot_make_itself_admin(bridge: Harness, script: Script) -> None:
    """Whatever levels a network claims, nobody of it gets what the bridge or an admin has, and no admin loses any."""
    room = await bridge.portal_room("net", "lobby")
    mallory = RemoteSender(RemoteUserId("mallory"), "Mallory")
    bot = RemoteSender(RemoteUserId("bridgebot"), "Bot", LoginId("@bridgebot:hs.test"))
    before = dict((bridge.homeserver.room(room).content("m.room.power_levels") or {})["users"])
    powers = (MemberPower(mallory, 2**53), MemberPower(bot, 0))
    await receive(bridge, script, RemotePower(ChatId("lobby"), powers, complete=True))
    await bridge.until(
        lambda: (
            (bridge.homeserver.room(room).content("m.room.power_levels") or {})["users"]
            == {**before, "@_net_mallory:hs.test": 50}
        )
    )


@pytest.mark.parametrize(
    "content",
    [
        {"membership": ["join"]},
        {"membership": {"a": 1}},
        {"membership": 7},
        {},
        {"membership": "join", "reason": {"x": 1}},
    ],
)
async def test_memberships_on_matrix_that_are_none(bridge: Harness, script: Script, content: dict[str, Any]) -> None:
    """A member event of another server may hold anything: it means nothing, and the room goes on."""
    room = await bridge.portal_room("net", "lobby")
    world = bridge.alice._world
    world.emit(world.room(room), "@eve:elsewhere.test", "m.room.member", content, state_key="@eve:elsewhere.test")
    bridge.alice.send(room, "still here")
    await bridge.until(lambda: "still here" in script.texts())


async def test_forged_powers_are_no_state(bridge: Harness, script: Script) -> None:
    """A message of the type of power levels or memberships changes nothing and reaches no network."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("hello"))
    world = bridge.alice._world
    before = {"membership": "join", "users": {"@_net_bob:hs.test": 0}}
    for kind in ("m.room.power_levels", "m.room.member"):
        content = {"membership": "ban", "users": {"@_net_bob:hs.test": 100}}
        event = world.emit(world.room(room), bridge.alice.id, kind, content)
        event["unsigned"] = {"prev_content": before}
    bridge.alice.send(room, "still here")
    await bridge.until(lambda: script.sent)
    assert script.texts() == ["still here"]
    assert "@_net_bob:hs.test" in bridge.homeserver.room(room).members()
