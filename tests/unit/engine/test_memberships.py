"""Memberships and powers beside the messages: through failures, restarts, and without keeping anybody waiting."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import MemberPower, Membership, RemoteMember, RemoteMembers, RemotePower, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixMember, MatrixOutgoing
from bridge_core.api.network import Attempt, Sent
from bridge_core.engine.gate import Check
from tests.harness import Harness
from tests.invariants.scenes import Recorder, say
from tests.scripted import Script

pytestmark = pytest.mark.asyncio

LOBBY = ChatId("lobby")


@pytest.fixture
def script() -> Script:
    """The network's script."""
    made = Script()
    made.moderates = True
    return made


@pytest_asyncio.fixture
async def bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    """A bridge with one eager network, as fast as it can be."""
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "members": "eager", "leave_grace": 0}}
    sections: dict[str, Any] = {"limits": {"membership_rate": 1000}}
    async with Harness(tmp_path, networks, adapters={"scripted": script}, **sections) as harness:
        yield harness


def crowd(count: int) -> tuple[RemoteSender, ...]:
    """So many people."""
    return tuple(RemoteSender(RemoteUserId(f"p{number}"), f"P{number}") for number in range(count))


def ghosts(people: tuple[RemoteSender, ...]) -> set[str]:
    """Their ghosts."""
    return {f"@_net_{who.id}:hs.test" for who in people}


def inside(bridge: Harness, room: str) -> set[str]:
    """The ghosts in a room."""
    return {user for user in bridge.homeserver.room(room).members() if user.startswith("@_net_")}


async def tell(script: Script, *events: Any) -> None:
    """The network tells of these."""
    assert script.inbox is not None
    await script.inbox.receive(events)


async def test_a_list_is_worked_off_after_a_restart(bridge: Harness, script: Script) -> None:
    """What was still to be done when the bridge stopped is done by the next one, and nobody is lost."""
    room = await bridge.portal_room("net", "lobby")
    people = crowd(12)
    gate = bridge.homeserver.faults.hold(match="POST .*/join$")
    await tell(script, RemoteMembers(LOBBY, people))
    await bridge.until(lambda: bridge.homeserver.faults.hits)
    await bridge.stop_bridge()
    gate.set()
    assert len(inside(bridge, room)) < len(people)
    await bridge.start_bridge()
    await bridge.until(lambda: inside(bridge, room) == ghosts(people))
    assert await bridge.running.database.wishes.count() == 0 or await _emptied(bridge)


async def _emptied(bridge: Harness) -> bool:
    async with asyncio.timeout(60):
        while await bridge.running.database.wishes.count():
            await asyncio.sleep(0.01)
    return True


async def test_messages_do_not_wait_for_a_crowd(bridge: Harness, script: Script) -> None:
    """While hundreds are still to join, what is said arrives, also from one of those who are still to come."""
    room = await bridge.portal_room("net", "lobby")
    await tell(script, say("first"))
    await bridge.homeserver.wait_message(room, "first")
    gate = bridge.homeserver.faults.hold(match="p0%3A|p0:", times=1)
    people = crowd(300)
    await tell(script, *(RemoteMember(LOBBY, who, Membership.JOIN) for who in people), say("second"))
    await bridge.homeserver.wait_message(room, "second")
    await tell(script, say("me too", people[-1]))
    await bridge.homeserver.wait_message(room, "me too")
    assert len(inside(bridge, room)) < 100
    gate.set()
    await bridge.until(lambda: inside(bridge, room) >= ghosts(people))


async def test_who_is_banned_on_matrix_stays_out(bridge: Harness, script: Script) -> None:
    """A ghost that the room will not have is asked for once, counted, and keeps nobody waiting."""
    room = await bridge.portal_room("net", "lobby")
    banned, other = crowd(2)
    await tell(script, say("hello", banned))
    await bridge.homeserver.wait_message(room, "hello")
    await bridge.settled()
    (user,) = ghosts((banned,))
    bot = bridge.homeserver.bot
    await bridge.running.matrix.ban(RoomId(room), UserId(user))
    await bridge.running.engine.ghosts.left(RoomId(room), UserId(user))
    await tell(script, RemoteMembers(LOBBY, (banned, other)))
    await bridge.until(lambda: ghosts((other,)) <= inside(bridge, room))
    await bridge.until(lambda: bridge.running.metrics.snapshot()["memberships"].get(("refused",)))
    assert bridge.homeserver.room(room).membership(user) == "ban"
    assert bot in bridge.homeserver.room(room).members()
    assert await _emptied(bridge)


async def test_a_list_costs_a_lazy_room_nothing(bridge: Harness, script: Script) -> None:
    """A portal that is set to lazy gets nobody from a list, and no request is made for it."""
    room = await bridge.portal_room("net", "lobby")
    engine = bridge.running.engine
    row = engine.portals.in_room(RoomId(room))[0]
    await engine.portals.set_option(row, "members", "lazy")
    await bridge.settled()
    recorder = Recorder(bridge)
    await tell(script, RemoteMembers(LOBBY, crowd(2000)))
    await bridge.settled()
    assert recorder.seen == []
    assert await bridge.running.database.wishes.count() == 0


def _levels(bridge: Harness, room: str) -> dict[str, int]:
    found: dict[str, int] = (bridge.homeserver.room(room).content("m.room.power_levels") or {})["users"]
    return found


async def test_powers_survive_a_failed_send(bridge: Harness, script: Script) -> None:
    """What could not be set is tried again until it is so."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    bridge.homeserver.faults.answer(502, times=1, match="PUT .*m.room.power_levels")
    (op,) = crowd(1)
    await tell(script, RemotePower(LOBBY, (MemberPower(op, 50),)))
    (user,) = ghosts((op,))
    await bridge.until(lambda: _levels(bridge, room).get(user) == 50)
    assert bridge.homeserver.faults.hits == 1


async def test_powers_survive_a_restart(bridge: Harness, script: Script) -> None:
    """What was not set when the bridge stopped is set by the next one."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    bridge.homeserver.faults.answer(502, times=99, match="PUT .*m.room.power_levels")
    (op,) = crowd(1)
    await tell(script, RemotePower(LOBBY, (MemberPower(op, 50),)))
    await bridge.until(lambda: bridge.homeserver.faults.hits)
    await bridge.stop_bridge()
    bridge.homeserver.faults.clear()
    (user,) = ghosts((op,))
    assert user not in _levels(bridge, room)
    await bridge.start_bridge()
    await bridge.until(lambda: _levels(bridge, room).get(user) == 50)


async def test_too_many_powers_are_counted(bridge: Harness, script: Script) -> None:
    """A network with more people in power than an event holds changes nothing, and that is counted."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    before = _levels(bridge, room)
    people = crowd(4000)
    await tell(script, RemotePower(LOBBY, tuple(MemberPower(who, 50) for who in people), complete=True))
    await bridge.until(lambda: bridge.running.metrics.snapshot()["power_changes"].get(("too_large",)))
    assert _levels(bridge, room) == before


async def test_a_refused_kick_is_undone(bridge: Harness, script: Script) -> None:
    """Who is kicked on Matrix against the network's will is back, and the network was asked once."""
    room = await bridge.portal_room("net", "lobby")
    (who,) = crowd(1)
    await tell(script, say("hello", who))
    await bridge.homeserver.wait_message(room, "hello")
    (user,) = ghosts((who,))
    levels = dict(bridge.homeserver.room(room).content("m.room.power_levels") or {})
    levels["users"] = {**levels["users"], bridge.alice.id: 90}
    matrix = bridge.running.matrix
    await matrix.set_state(RoomId(room), "m.room.power_levels", "", levels, matrix.bot)
    asked: list[MatrixOutgoing] = []

    def refuse(message: MatrixOutgoing, attempt: Attempt) -> Sent:
        asked.append(message)
        raise RejectedError("no")

    script.answer = refuse
    bridge.alice.kick(room, user)
    await bridge.until(lambda: asked)
    await bridge.until(lambda: bridge.homeserver.room(room).membership(user) == "join")
    assert [type(one) for one in asked] == [MatrixMember]


async def test_what_cannot_be_put_back_now_is_put_back_later(bridge: Harness, script: Script) -> None:
    """While the homeserver fails, a refused kick is not taken for one of unknown fate: it is put back afterwards."""
    room = await bridge.portal_room("net", "lobby")
    (who,) = crowd(1)
    await tell(script, say("hello", who))
    await bridge.homeserver.wait_message(room, "hello")
    (user,) = ghosts((who,))
    levels = dict(bridge.homeserver.room(room).content("m.room.power_levels") or {})
    levels["users"] = {**levels["users"], bridge.alice.id: 90}
    matrix = bridge.running.matrix
    await matrix.set_state(RoomId(room), "m.room.power_levels", "", levels, matrix.bot)
    kinds = bridge.running.engine.translation._kinds
    put_back, failures = kinds["m.room.member"].undo, [TransientError("not now")]
    assert put_back is not None

    async def failing_once(event: Any, portal: Any) -> None:
        if failures:
            raise failures.pop()
        await put_back(event, portal)

    def refuse(message: MatrixOutgoing, attempt: Attempt) -> Sent:
        raise RejectedError("no")

    script.answer = refuse
    kinds["m.room.member"] = replace(kinds["m.room.member"], undo=failing_once)
    bridge.alice.kick(room, user)
    await bridge.until(lambda: bridge.homeserver.room(room).membership(user) == "join" and not failures)
    await bridge.settled()
    assert "may not" not in str(bridge.homeserver.messages(room))


async def test_an_admin_chooses_who_is_in_a_room(bridge: Harness, script: Script) -> None:
    """`members lazy` and `members eager` replace the network's setting for one room, and hold from then on."""
    admin = bridge.homeserver.user("admin")
    room = await bridge.portal_room("net", "lobby")
    admin.join(room)
    people = crowd(3)

    async def say_it(text: str, answer: str) -> None:
        before = len(bridge.homeserver.messages(room))
        admin.send(room, f"!bridge {text}")
        await bridge.until(
            lambda: any(answer in str(said) for _, said in bridge.homeserver.messages(room)[before + 1 :])
        )

    await say_it("members", "everybody of the chat is here")
    await say_it("members sometimes", "members eager or members lazy")
    await say_it("members lazy", "who has spoken is here")
    await tell(script, RemoteMembers(LOBBY, people))
    await bridge.settled()
    assert await bridge.running.database.wishes.count() == 0
    script.members[LOBBY] = people
    await say_it("members eager", "everybody of the chat is here")
    await bridge.until(lambda: inside(bridge, room) == ghosts(people))


async def test_removals_are_followed_where_that_is_configured(tmp_path: Path, script: Script) -> None:
    """With `follow_removals` a user whose own connection is thrown out of a chat is thrown out of its room, and let
    back when the chat lets them."""
    script.provided = True
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "follow_removals": True}}
    async with Harness(tmp_path, networks, adapters={"scripted": script}) as bridge:
        room = await bridge.portal_room("net", "lobby")
        bridge.alice.send(room, "hello")
        await bridge.until(lambda: script.sent)
        network = bridge.running.networks.get(script.network)
        assert network is not None
        own = RemoteSender(RemoteUserId("me"), "Alice", network.logins(UserId(bridge.alice.id))[0].id)
        by = RemoteSender(RemoteUserId("op"), "Op")
        for membership, now in (
            (Membership.KICK, "leave"),
            (Membership.BAN, "ban"),
            (Membership.UNBAN, "leave"),
            (Membership.JOIN, "invite"),
        ):
            await tell(script, RemoteMember(LOBBY, own, membership, by, "rules"))
            await bridge.settled()
            member = bridge.homeserver.room(room).current["m.room.member", bridge.alice.id]
            assert (member["content"]["membership"], member["sender"]) == (now, bridge.homeserver.bot)


async def test_a_login_that_is_not_known_removes_nobody(tmp_path: Path, script: Script) -> None:
    """What a network says of a login that it has not made touches no Matrix user."""
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "follow_removals": True}}
    async with Harness(tmp_path, networks, adapters={"scripted": script}) as bridge:
        room = await bridge.portal_room("net", "lobby")
        forged = RemoteSender(RemoteUserId("me"), "Alice", LoginId(bridge.alice.id))
        await tell(script, RemoteMember(LOBBY, forged, Membership.BAN))
        await bridge.settled()
        assert bridge.homeserver.room(room).membership(bridge.alice.id) == "join"


async def test_chats_that_share_a_room_take_nobody_out_of_it(bridge: Harness, script: Script) -> None:
    """Who is not in one chat of a room may be in the other: a list takes neither them nor their power away."""
    room = await bridge.portal_room("net", "lobby")
    engine = bridge.running.engine
    second = await engine.portals.ensure(script.network, ChatId("garden"))
    await engine.portals.add_room(second, RoomId(room))
    here, there = crowd(2)
    await tell(script, RemoteMembers(LOBBY, (here,)), RemotePower(LOBBY, (MemberPower(here, 50),), complete=True))
    await bridge.until(lambda: ghosts((here,)) <= inside(bridge, room))
    await bridge.until(lambda: _levels(bridge, room).get(*ghosts((here,))) == 50)
    garden = ChatId("garden")
    await tell(script, RemoteMembers(garden, (there,)), RemotePower(garden, (MemberPower(there, 50),), complete=True))
    await bridge.until(lambda: _levels(bridge, room).get(*ghosts((there,))) == 50)
    await bridge.until(lambda: ghosts((here, there)) <= inside(bridge, room))
    assert await _emptied(bridge)
    assert _levels(bridge, room).get(*ghosts((here,))) == 50
    assert inside(bridge, room) == ghosts((here, there))


async def test_nobody_comes_into_a_room_that_is_stopped(bridge: Harness, script: Script) -> None:
    """While nothing may cross, nobody is brought in; it is not forgotten, and other rooms do not wait for it."""
    room = await bridge.portal_room("net", "lobby")
    stopped = [room]

    class Stop(Check):
        def room(self, room: RoomId) -> str:
            return "stopped" if room in stopped else ""

    bridge.running.engine.gate.add(Stop())
    await tell(script, RemoteMembers(LOBBY, crowd(2)))
    await bridge.settled()

    async def put_off() -> bool:
        due = await bridge.running.database.wishes.next_due()
        return due is not None and due > bridge.running._clock.now_ms() + 100_000

    async with asyncio.timeout(60):
        while not await put_off():
            await asyncio.sleep(0.01)
    assert inside(bridge, room) == set()
    assert await bridge.running.database.wishes.count() == 2
