"""Who comes or goes on the network while their ghost is on its way into a room, or out of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.events import Membership, RemoteEvent, RemoteMember, RemoteMembers, RemoteSender
from bridge_core.api.ids import ChatId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.engine.store_ports import MemberWish, MemberWishes, Wish
from bridge_core.engine.wishes import Wishes
from tests.harness import Harness
from tests.invariants.scenes import say
from tests.scripted import Script

pytestmark = pytest.mark.asyncio

LOBBY = ChatId("lobby")
BOB = RemoteSender(RemoteUserId("bob"), "Bob")
GHOST = UserId("@_net_bob:hs.test")


class Scene:
    """A bridge with one eager network, and the portal of its chat."""

    def __init__(self, bridge: Harness, script: Script, room: str) -> None:
        self.bridge = bridge
        self.faults = bridge.homeserver.faults
        self.room = room
        self._script = script

    async def tell(self, *events: RemoteEvent) -> None:
        """The network tells of these, and all of it is dealt with that does not wait beside the messages."""
        assert self._script.inbox is not None
        await self._script.inbox.receive(events)
        await self.bridge.settled()

    async def met(self) -> None:
        """A request met what the test ordered."""
        await self.bridge.until(lambda: self.faults.hits)

    async def worked_off(self, ended: int = 1) -> None:
        """At least so many wishes were ended since the start, and none is left."""
        metrics, wishes = self.bridge.running.metrics, self.bridge.running.database.wishes
        await self.bridge.until(lambda: sum(metrics.snapshot()["memberships"].values()) >= ended)
        async with asyncio.timeout(60):
            while await wishes.count():
                await asyncio.sleep(0.01)
        await self.bridge.settled()

    def membership(self) -> str | None:
        """Bob's ghost in the room."""
        return self.bridge.homeserver.room(self.room).membership(GHOST)

    async def known(self) -> bool:
        """Whether the bridge takes Bob's ghost to be in the room."""
        return await self.bridge.running.engine.ghosts.knows(RoomId(self.room), GHOST)


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """One that is ready."""
    script = Script()
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "members": "eager", "leave_grace": 0}}
    sections: dict[str, Any] = {"limits": {"membership_rate": 1000}}
    async with Harness(tmp_path, networks, adapters={"scripted": script}, **sections) as bridge:
        room = await bridge.portal_room("net", "lobby")
        await bridge.settled()
        yield Scene(bridge, script, room)


COMES = RemoteMember(LOBBY, BOB, Membership.JOIN)
LEAVES = RemoteMember(LOBBY, BOB, Membership.LEAVE)
KICKED = RemoteMember(LOBBY, BOB, Membership.KICK)


@pytest.mark.parametrize(
    ("event", "then"),
    [
        (LEAVES, "leave"),
        (KICKED, "leave"),
        (RemoteMember(LOBBY, BOB, Membership.BAN), "ban"),
        (RemoteMembers(LOBBY, ()), "leave"),
    ],
)
async def test_who_leaves_while_they_come_is_out(scene: Scene, event: RemoteEvent, then: str) -> None:
    """A leave, a kick, a ban or a list without somebody counts, while the join of their ghost is under way."""
    gate = scene.faults.hold(match="POST .*/join$")
    await scene.tell(COMES)
    await scene.met()
    await scene.tell(event)
    gate.set()
    await scene.worked_off()
    assert (scene.membership(), await scene.known()) == (then, False)


@pytest.mark.parametrize("event", [COMES, say("back", BOB), RemoteMembers(LOBBY, (BOB,))])
async def test_who_returns_while_they_come_is_in(scene: Scene, event: RemoteEvent) -> None:
    """Who left and came back, or spoke, while the join of their ghost was under way is not taken out again."""
    gate = scene.faults.hold(match="POST .*/join$")
    await scene.tell(COMES)
    await scene.met()
    await scene.tell(LEAVES)
    telling = asyncio.create_task(scene.tell(event))
    await _taken_back(scene)
    gate.set()
    await telling
    await scene.worked_off()
    assert (scene.membership(), await scene.known()) == ("join", True)


async def _taken_back(scene: Scene) -> None:
    wishes = scene.bridge.running.database.wishes
    async with asyncio.timeout(60):
        while (found := (await wishes.of_room(RoomId(scene.room))).get(GHOST)) is None or found.wish is not Wish.JOIN:
            await asyncio.sleep(0.01)


async def test_each_change_of_mind_counts(scene: Scene) -> None:
    """Somebody who leaves, returns and leaves again during one join is out."""
    gate = scene.faults.hold(match="POST .*/join$")
    await scene.tell(COMES)
    await scene.met()
    await scene.tell(LEAVES, COMES, LEAVES)
    gate.set()
    await scene.worked_off()
    assert (scene.membership(), await scene.known()) == ("leave", False)


async def test_who_leaves_after_a_join_without_an_answer_is_out(scene: Scene) -> None:
    """A join that the homeserver did without its answer reaching us is undone, when they leave before it is retried."""
    scene.faults.lose_answer(match="POST .*/join$", times=99)
    await scene.tell(COMES)
    await scene.bridge.until(lambda: scene.membership() == "join")
    due = scene.bridge.running.database.wishes.next_due
    async with asyncio.timeout(60):
        while not (await due() or 0) > scene.bridge.running._clock.now_ms() + 10_000:
            await asyncio.sleep(0.01)
    await scene.tell(LEAVES)
    await scene.bridge.until(lambda: scene.membership() == "leave")


async def test_who_spoke_before_their_turn_and_left_is_out(scene: Scene) -> None:
    """Who speaks while many are to come is there at once; when they have left, their turn does not bring them back."""
    gate = scene.faults.hold(match="POST .*/join$")
    other = RemoteSender(RemoteUserId("carol"), "Carol")
    await scene.tell(RemoteMember(LOBBY, other, Membership.JOIN))
    await scene.met()
    await scene.tell(COMES, say("hello", BOB))
    assert scene.membership() == "join"
    await scene.tell(LEAVES)
    gate.set()
    await scene.worked_off()
    assert (scene.membership(), await scene.known()) == ("leave", False)


@pytest.mark.parametrize("event", [COMES, RemoteMembers(LOBBY, (BOB,))])
async def test_who_returns_while_they_leave_is_in(scene: Scene, event: RemoteEvent) -> None:
    """Who comes back while the leave of their ghost is under way is there afterwards."""
    await scene.tell(COMES)
    await scene.bridge.until(lambda: scene.membership() == "join")
    await scene.worked_off()
    gate = scene.faults.hold(match="POST .*/leave$")
    await scene.tell(RemoteMembers(LOBBY, ()))
    await scene.met()
    await scene.tell(event)
    gate.set()
    await scene.worked_off(2)
    assert (scene.membership(), await scene.known()) == ("join", True)


async def test_a_kick_that_is_read_late_does_not_count_against_who_is_back(scene: Scene) -> None:
    """Somebody whose ghost is back by the time their kick is reached in its lane is there, and can leave."""
    room, engine, matrix = RoomId(scene.room), scene.bridge.running.engine, scene.bridge.running.matrix
    await scene.tell(say("hello", BOB))
    await matrix.kick(room, GHOST)
    kick = scene.bridge.homeserver.room(room).current["m.room.member", GHOST]
    await engine.room_events.handle(kick)
    assert not await scene.known()
    await scene.tell(say("hello again", BOB))
    assert scene.membership() == "join"
    await engine.room_events.handle(kick)
    assert await scene.known()
    await scene.tell(LEAVES)
    assert scene.membership() == "leave"


class _Store(MemberWishes):
    """Finds what it is given, and lets the test do something while it reads."""

    def __init__(self, found: list[MemberWish]) -> None:
        self.found = found
        self.reading: Callable[[], Any] = lambda: None

    def put(self, wish: MemberWish) -> None:
        pass

    async def due(self, now: int, limit: int) -> list[MemberWish]:
        found = list(self.found)
        self.reading()
        return found


async def test_what_is_taken_back_while_it_is_read_is_not_done() -> None:
    """A leave that was read right before its ghost spoke is not given out; the others are."""
    leaving, other = (
        MemberWish(RoomId("!r:hs.test"), UserId(user), Wish.LEAVE, 1, NetworkId("net"), BOB.id)
        for user in (GHOST, "@_net_carol:hs.test")
    )
    store = _Store([leaving, other])
    wishes = Wishes(store)
    wishes.put(leaving)
    stays: list[bool] = []
    store.reading = lambda: stays.append(wishes.stays(leaving.room, leaving.user))
    assert await wishes.due(2, 10) == [other]
    assert stays == [True]
    assert not wishes.holds(leaving)
    assert wishes.holds(other)
    store.reading = lambda: None
    assert await wishes.due(2, 10) == [leaving, other]  # what is found later counts again
