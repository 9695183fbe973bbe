"""The contract of the Matrix side, the same on a real Synapse and on FakeHomeserver: the fake is verified by it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
import pytest_asyncio

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, RoomSpec, SendRequest
from bridge_core.engine.secrecy import encryption_in
from bridge_core.matrix.http import AppserviceHttp
from bridge_core.matrix.listener import Listener
from bridge_core.matrix.media import StoredAddress
from bridge_core.matrix.queries import NoQueries
from bridge_core.matrix.side import AppserviceSide
from bridge_core.matrix.startup import SetupProblemError
from bridge_core.matrix.transaction import Transaction
from tests.conformance.homeservers import ID, SERVER, Homeserver

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOMESERVERS = ("fake", "basic", "synapse")

BOT = UserId(f"@bridgebot:{SERVER}")
HOUR = 3600 * 1000


class Clock:
    """A clock the test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


class Keys(dict[str, StoredAddress]):
    """MediaKeys in memory."""

    async def get(self, key: str) -> StoredAddress | None:  # type: ignore[override]
        return dict.get(self, key)

    async def put(self, key: str, address: StoredAddress) -> None:
        self[key] = address


@dataclass
class Received:
    """A sink that remembers, and tells who waits."""

    transactions: list[Transaction] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, txn: Transaction) -> None:
        self.transactions.append(txn)
        self.came.set()

    async def event(self, event_id: str) -> dict[str, Any]:
        """The pushed event with this id."""
        async with asyncio.timeout(60):
            while True:
                for txn in self.transactions:
                    for event in txn.events:
                        if event["event_id"] == event_id:
                            return event
                self.came.clear()
                await self.came.wait()

    async def membership(self, user: str, membership: str) -> dict[str, Any]:
        """The pushed event that made a user's membership this."""
        async with asyncio.timeout(60):
            while True:
                for txn in self.transactions:
                    for event in txn.events:
                        if event.get("state_key") == user and event["content"].get("membership") == membership:
                            return event
                self.came.clear()
                await self.came.wait()


class Asked(NoQueries):
    """Makes the room `#_asked...` when it is asked for."""

    def __init__(self) -> None:
        self.side: AppserviceSide | None = None

    async def room(self, alias: str) -> bool:
        if self.side is None or not alias.startswith("#_asked"):
            return False
        await self.side.ensure_room(RoomSpec(alias[1:].partition(":")[0], "asked", join_rule="public"))
        return True


@dataclass
class Setting:
    """A bridge's Matrix side in front of a homeserver."""

    homeserver: Homeserver
    side: AppserviceSide
    keys: Keys
    clock: Clock
    received: Received
    queries: Asked

    async def ghost(self) -> tuple[UserId, str | None]:
        """A new ghost and its device."""
        user = UserId(f"@_ghost_{secrets.token_hex(4)}:{SERVER}")
        return user, await self.side.ensure_registered(user)

    async def room(self, **more: Any) -> RoomId:
        """A new public room of the bot's."""
        spec = RoomSpec(f"_room_{secrets.token_hex(4)}", "Room", join_rule="public", **more)
        return await self.side.ensure_room(spec)


@pytest_asyncio.fixture(loop_scope="module")
async def at(homeserver: Homeserver) -> AsyncIterator[Setting]:
    """A fresh Matrix side that is started, checked and reachable for the homeserver."""
    keys, clock, received, queries = Keys(), Clock(), Received(), Asked()
    listener = Listener(AppserviceHttp(homeserver.hs_token, received, queries).application(), port=homeserver.port)
    await listener.start()
    side = AppserviceSide(
        address=homeserver.url, as_token=homeserver.as_token, bot=BOT, media_keys=keys, clock=clock, timeout=30
    )
    await side.start()
    queries.side = side
    await side.check()
    await side.ping(ID)
    yield Setting(homeserver, side, keys, clock, received, queries)
    await side.stop()
    await listener.stop()


def message(room: RoomId, sender: UserId, device: str | None, text: str, txn: str | None = None) -> SendRequest:
    """A message that carries its id."""
    name = txn or secrets.token_hex(12)
    body = orjson.dumps({"msgtype": "m.text", "body": text, "dev.matrix_bridge.id": name})
    return SendRequest(room, "m.room.message", name, sender, device, body)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """A file in pieces."""
    for part in parts:
        yield part


async def test_the_side_is_a_matrix_side(at: Setting) -> None:
    """AppserviceSide fits the port, and knows who and where it is."""
    side: MatrixSide = at.side
    assert (side.bot, side.server_name) == (BOT, SERVER)


async def test_registering_twice_is_fine(at: Setting) -> None:
    """A ghost is registered once, gets the same device each time, and keeps its profile."""
    user, device = await at.ghost()
    await at.side.set_profile(user, "Ann", "mxc://hs.test/abc")
    assert await at.side.ensure_registered(user) == device
    profile = await at.side.profile(user)
    assert (profile.name, profile.avatar) == ("Ann", "mxc://hs.test/abc")


async def test_users_outside_the_namespace_are_refused(at: Setting) -> None:
    """A user that is not ours cannot be registered."""
    with pytest.raises(MatrixRejectedError) as caught:
        await at.side.ensure_registered(UserId(f"@nobody:{SERVER}"))
    assert caught.value.errcode == "M_EXCLUSIVE"


async def test_a_profile_that_is_not_there_is_empty(at: Setting) -> None:
    """Nobody has no name."""
    assert (await at.side.profile(UserId(f"@nobody{secrets.token_hex(4)}:{SERVER}"))).name is None


async def test_a_repeated_send_is_one_event(at: Setting) -> None:
    """The same request again gives the same event id and no second event."""
    room = await at.room()
    ghost, device = await at.ghost()
    await at.side.join(room, ghost)
    request = message(room, ghost, device, "once")
    first = await at.side.send(request, 0)
    assert await at.side.send(request, at.clock.now) == first
    human = await at.homeserver.human()
    await at.side.invite(room, UserId(human.id))
    await human.call("POST", f"join/{room}")
    assert await human.bodies(room) == [(ghost, "once")]


async def test_a_send_repeated_after_a_restart_of_the_homeserver_is_one_event(at: Setting) -> None:
    """By the device where there are devices, by looking for it where there are none."""
    room = await at.room()
    ghost, device = await at.ghost()
    await at.side.join(room, ghost)
    request = message(room, ghost, device, "once")
    first = await at.side.send(request, 0)
    for number in range(3):
        await at.side.send(message(room, ghost, device, f"more {number}"), 0)
    await at.homeserver.restart()
    assert await at.side.send(request, at.clock.now) == first


async def test_without_a_device_the_homeserver_forgets(at: Setting) -> None:
    """What looking is for: after a restart a request without device and without look is a second event."""
    room = await at.room()
    ghost, _ = await at.ghost()
    await at.side.join(room, ghost)
    request = message(room, ghost, None, "twice")
    first = await at.side.send(request, 0)
    await at.homeserver.restart()
    assert await at.side.send(request, 0) != first


async def test_two_ghosts_with_one_transaction_id_lose_a_message(at: Setting) -> None:
    """Why ids contain the sender: in memory, the key of an appservice's transaction leaves the user out."""
    room = await at.room()
    (ann, device), (bob, other) = await at.ghost(), await at.ghost()
    await at.side.join(room, ann)
    await at.side.join(room, bob)
    first = await at.side.send(message(room, ann, device, "ann's", "same"), 0)
    assert await at.side.send(message(room, bob, other, "bob's", "same"), 0) == first


async def test_an_old_attempt_is_looked_for(at: Setting) -> None:
    """After more than 20 h the room is searched for the id in the content, past other events and redaction."""
    room = await at.room()
    ghost, device = await at.ghost()
    await at.side.join(room, ghost)
    request = message(room, ghost, device, "long ago")
    first = await at.side.send(request, 0)
    await at.side.send(message(room, ghost, device, "later"), 0)
    forgotten = replace(request, txn=secrets.token_hex(12))
    assert await at.side.send(forgotten, at.clock.now - 21 * HOUR) == first


async def test_an_old_attempt_that_never_arrived_is_sent(at: Setting) -> None:
    """Nothing found: it is sent now, with its time."""
    room = await at.room()
    ghost, device = await at.ghost()
    await at.side.join(room, ghost)
    request = replace(message(room, ghost, device, "new"), ts=1_500_000_000_000)
    event_id = await at.side.send(request, at.clock.now - 30 * HOUR)
    event = await at.side.event(room, event_id, BOT)
    assert event is not None
    assert (event["content"]["body"], event["origin_server_ts"]) == ("new", 1_500_000_000_000)


async def test_looking_sees_through_a_redaction(at: Setting) -> None:
    """An event that was redacted meanwhile is known by its time, not sent again."""
    room = await at.room()
    ghost, device = await at.ghost()
    await at.side.join(room, ghost)
    request = replace(message(room, ghost, device, "gone"), ts=1_600_000_000_123)
    first = await at.side.send(request, 0)
    body = orjson.dumps({"dev.matrix_bridge.id": "r"})
    await at.side.send(
        SendRequest(room, "m.room.redaction", secrets.token_hex(8), ghost, device, body, redacts=first), 0
    )
    forgotten = replace(request, txn=secrets.token_hex(12))
    assert await at.side.send(forgotten, at.clock.now - 21 * HOUR) == first


async def test_redactions_are_idempotent(at: Setting) -> None:
    """A redaction repeated, verbatim or looked for, is one; the content is gone."""
    room = await at.room()
    ghost, device = await at.ghost()
    await at.side.join(room, ghost)
    target = await at.side.send(message(room, ghost, device, "secret"), 0)
    name = secrets.token_hex(8)
    body = orjson.dumps({"dev.matrix_bridge.id": name, "reason": "gone"})
    request = SendRequest(room, "m.room.redaction", name, ghost, device, body, redacts=target)
    first = await at.side.send(request, 0)
    assert await at.side.send(request, at.clock.now) == first
    forgotten = replace(request, txn=secrets.token_hex(8))
    assert await at.side.send(forgotten, at.clock.now - 21 * HOUR) == first
    event = await at.side.event(room, target, BOT)
    assert event is not None
    assert "body" not in event["content"]


async def test_a_deleted_device_comes_back(at: Setting) -> None:
    """A ghost whose device somebody deleted can send again."""
    room = await at.room()
    ghost, device = await at.ghost()
    if device is None:
        # A homeserver without devices ignores the parameter, so any will do.
        device = "GONE"
    await at.side.join(room, ghost)
    url = at.side._homeserver.addresses.of("client", "v3", "devices", device, user=ghost)
    await at.side._requests.json("DELETE", url)
    assert (await at.side.send(message(room, ghost, device, "back"), 0)).startswith("$")


async def test_sending_to_a_room_one_is_not_in_is_refused(at: Setting) -> None:
    """M_FORBIDDEN, also for a room that does not exist."""
    room = await at.room()
    ghost, device = await at.ghost()
    for where in (room, RoomId("!nowhere:hs.test")):
        with pytest.raises(MatrixRejectedError) as caught:
            await at.side.send(message(where, ghost, device, "no"), 0)
        assert caught.value.errcode == "M_FORBIDDEN"


async def test_an_event_too_large_is_refused(at: Setting) -> None:
    """M_TOO_LARGE."""
    room = await at.room()
    with pytest.raises(MatrixRejectedError) as caught:
        await at.side.send(message(room, BOT, None, "x" * 70_000), 0)
    assert caught.value.errcode == "M_TOO_LARGE"


async def test_ghosts_join_invite_only_rooms(at: Setting) -> None:
    """Joining a closed room works by the bot's invite, twice too; leaving twice is fine."""
    room = await at.side.ensure_room(RoomSpec(f"_closed_{secrets.token_hex(4)}", "Closed"))
    ghost, _ = await at.ghost()
    await at.side.join(room, ghost)
    await at.side.join(room, ghost)
    assert ghost in await at.side.members(room)
    await at.side.leave(room, ghost, "bye")
    await at.side.leave(room, ghost)
    assert ghost not in await at.side.members(room)


async def test_banned_ghosts_stay_out(at: Setting) -> None:
    """Joining while banned is refused; Synapse says M_BAD_STATE, others M_FORBIDDEN."""
    room = await at.room()
    ghost, _ = await at.ghost()
    await at.side._homeserver.post("rooms", room, "ban", content={"user_id": ghost})
    with pytest.raises(MatrixRejectedError) as caught:
        await at.side.join(room, ghost)
    assert caught.value.errcode in {"M_BAD_STATE", "M_FORBIDDEN"}
    assert ghost not in await at.side.members(room)


async def test_inviting_and_kicking_are_idempotent(at: Setting) -> None:
    """Inviting who is invited or joined, and kicking who is not there, does nothing."""
    room = await at.room()
    human = await at.homeserver.human()
    user = UserId(human.id)
    await at.side.kick(room, user)
    await at.side.invite(room, user)
    await at.side.invite(room, user)
    await human.call("POST", f"join/{room}")
    await at.side.invite(room, user)
    await at.side.kick(room, user, "out")
    await at.side.kick(room, user)
    assert user not in await at.side.members(room)


async def test_bans_are_idempotent(at: Setting) -> None:
    """Banning who is banned, and lifting a ban that is not there, does nothing; nobody is thrown out by the latter."""
    room = await at.room()
    ghost, _ = await at.ghost()
    await at.side.unban(room, ghost)
    await at.side.join(room, ghost)
    await at.side.unban(room, ghost)
    assert ghost in await at.side.members(room)
    await at.side.ban(room, ghost, "rude")
    assert await at.side.state(room, "m.room.member", ghost) == {"membership": "ban", "reason": "rude"}
    await at.side.ban(room, ghost)
    assert (await at.side.state(room, "m.room.member", ghost) or {})["membership"] == "ban"
    await at.side.unban(room, ghost)
    await at.side.unban(room, ghost)
    assert await at.side.state(room, "m.room.member", ghost) == {"membership": "leave"}
    await at.side.join(room, ghost)


async def test_a_ban_lifted_by_mistake_throws_nobody_out(at: Setting) -> None:
    """The homeserver refuses to lift a ban that is not there."""
    room = await at.room()
    ghost, _ = await at.ghost()
    await at.side.join(room, ghost)
    with pytest.raises(MatrixRejectedError) as caught:
        await at.side._homeserver.post("rooms", room, "unban", content={"user_id": ghost})
    assert caught.value.status == 403
    assert ghost in await at.side.members(room)


async def test_ghosts_knock_where_rooms_take_knocks(at: Setting) -> None:
    """Asking to be let in works where the join rule is knock, twice too, and is refused elsewhere."""
    room = await at.side.ensure_room(RoomSpec(f"_knock_{secrets.token_hex(4)}", "Knock", join_rule="knock"))
    ghost, _ = await at.ghost()
    await at.side.knock(room, ghost, "please")
    await at.side.knock(room, ghost, "please")
    assert (await at.side.state(room, "m.room.member", ghost) or {})["membership"] == "knock"
    await at.side.join(room, ghost)
    await at.side.knock(room, ghost)
    assert ghost in await at.side.members(room)
    closed = await at.side.ensure_room(RoomSpec(f"_closed_{secrets.token_hex(4)}", "Closed"))
    with pytest.raises(MatrixRejectedError):
        await at.side.knock(closed, ghost)


async def test_pushed_memberships_tell_what_was_before(at: Setting) -> None:
    """What was there before a state event stands in `unsigned`: a kick and a lifted ban look the same without it."""
    room = await at.room()
    human = await at.homeserver.human()
    await human.join(room)
    await at.side.ban(room, UserId(human.id))
    await at.side.unban(room, UserId(human.id))
    left = await at.received.membership(human.id, "leave")
    assert left["unsigned"]["prev_content"]["membership"] == "ban"
    first = await at.received.membership(human.id, "join")
    assert "prev_content" not in first["unsigned"]


async def test_a_kick_without_power_is_refused(at: Setting) -> None:
    """In a room where the bot has no power the refusal is told."""
    human = await at.homeserver.human()
    created = await human.call("POST", "createRoom", {"preset": "public_chat"})
    room = RoomId(created["room_id"])
    await at.side.join(room, BOT)
    with pytest.raises(MatrixRejectedError):
        await at.side.kick(room, UserId(human.id))


async def test_a_room_is_made_once(at: Setting) -> None:
    """The same spec again gives the same room, with state brought to the new wishes."""
    alias = f"_once_{secrets.token_hex(4)}"
    human = await at.homeserver.human()
    spec = RoomSpec(
        alias,
        "First",
        topic="about",
        invite=(UserId(human.id),),
        power_levels={"events": {"m.room.topic": 60}, "users": {human.id: 50}},
        state=(("dev.example", "key", {"a": 1}),),
    )
    room = await at.side.ensure_room(spec)
    assert (await at.side.state(room, "m.room.name")) == {"name": "First"}
    assert await at.side.ensure_room(replace(spec, name="Second", topic="new", join_rule="public")) == room
    assert (await at.side.state(room, "m.room.name")) == {"name": "Second"}
    assert (await at.side.state(room, "m.room.topic") or {})["topic"] == "new"
    assert (await at.side.state(room, "m.room.join_rules")) == {"join_rule": "public"}
    assert (await at.side.state(room, "dev.example", "key")) == {"a": 1}
    levels = await at.side.state(room, "m.room.power_levels") or {}
    assert (levels["events"]["m.room.topic"], levels["users"][human.id]) == (60, 50)


async def test_a_room_made_half_is_completed(at: Setting) -> None:
    """createRoom that failed half-way leaves create and member events only; ensure_room adds what is missing."""
    alias = f"_half_{secrets.token_hex(4)}"
    spec = RoomSpec(alias, "Half", join_rule="public", state=(("dev.example", "", {"a": "x" * 70_000}),))
    with pytest.raises(MatrixRejectedError) as caught:
        await at.side.ensure_room(spec)
    assert caught.value.errcode == "M_TOO_LARGE"
    room = await at.side.ensure_room(replace(spec, state=(("dev.example", "", {"a": 1}),)))
    assert (await at.side.state(room, "dev.example")) == {"a": 1}
    assert (await at.side.state(room, "m.room.join_rules")) == {"join_rule": "public"}
    assert (await at.side.state(room, "m.room.power_levels") or {})["state_default"] == 50
    assert (await at.side.state(room, "m.room.canonical_alias") or {})["alias"] == f"#{alias}:{SERVER}"
    assert (await at.side.state(room, "m.room.name")) == {"name": "Half"}


async def test_somebody_elses_room_is_not_taken(at: Setting) -> None:
    """An alias that leads to a room of another creator is refused, in it or not."""
    human = await at.homeserver.human()
    for preset in ("public_chat", "private_chat"):
        created = await human.call("POST", "createRoom", {"preset": preset, "invite": [BOT]})
        alias = f"_theirs_{secrets.token_hex(4)}"
        room = RoomId(created["room_id"])
        await at.side.join(room, BOT)
        await at.side._homeserver.put("directory", "room", f"#{alias}:{SERVER}", content={"room_id": room})
        if preset == "private_chat":
            await at.side.leave(room, BOT)
        with pytest.raises(MatrixRejectedError) as caught:
            await at.side.ensure_room(RoomSpec(alias, "Mine"))
        assert caught.value.errcode == "M_ROOM_IN_USE"


async def test_the_bot_keeps_its_power(at: Setting) -> None:
    """Power levels given for others do not take the bot's own away, in any room version."""
    human = await at.homeserver.human()
    room = await at.room(power_levels={"users": {human.id: 40}, "invite": 100})
    await at.side.set_state(room, "m.room.name", "", {"name": "still"}, BOT)
    await at.side.invite(room, UserId(human.id))


async def test_state_is_set_only_when_it_differs(at: Setting) -> None:
    """Setting what is there already makes no event; a ghost may set what it has the power for."""
    room = await at.room(power_levels={"events": {"dev.example": 0}})
    ghost, _ = await at.ghost()
    await at.side.join(room, ghost)
    assert await at.side.state(room, "dev.example", "a/b c") is None
    for content in ({"v": 1}, {"v": 1}, {"v": 2}):
        await at.side.set_state(room, "dev.example", "a/b c", content, ghost)
    await at.side.set_state(room, "dev.example", "a/b c", {"v": 2}, BOT)
    human = await at.homeserver.human()
    await human.call("POST", f"join/{room}")
    events = [event for event in await human.timeline(room) if event["type"] == "dev.example"]
    assert [(event["content"]["v"], event["sender"]) for event in events] == [(1, ghost), (2, ghost)]


async def test_events_are_seen_only_by_those_who_may(at: Setting) -> None:
    """CVE-2024-32000: an event is fetched as its viewer, so that nobody quotes what they cannot see."""
    room = await at.room(history_visibility="joined")
    event_id = await at.side.send(message(room, BOT, None, "before"), 0)
    ghost, _ = await at.ghost()
    assert await at.side.event(room, event_id, ghost) is None
    await at.side.join(room, ghost)
    assert await at.side.event(room, event_id, ghost) is None
    assert (await at.side.event(room, event_id, BOT) or {})["event_id"] == event_id
    other = await at.room()
    assert await at.side.event(other, event_id, BOT) is None
    assert await at.side.event(room, EventId("$nothing"), BOT) is None


@pytest.mark.parametrize("visibility", ["shared", "invited", "joined"])
async def test_what_was_said_between_invitation_and_join(
    at: Setting, visibility: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read in order and page by page, as far as the room's history is for who was invited, and no more."""
    monkeypatch.setattr("bridge_core.matrix.rooms._PAGE", "2")
    human, (ghost, _) = await at.homeserver.human(), await at.ghost()
    history = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": visibility}}
    answer = await human.call("POST", "createRoom", {"preset": "private_chat", "initial_state": [history]})
    room = RoomId(answer["room_id"])
    await human.send(room, "before")
    await human.call("POST", f"rooms/{room}/invite", {"user_id": ghost})
    invite = EventId((await at.received.membership(ghost, "invite"))["event_id"])
    for text in ("one", "two", "three"):
        await human.send(room, text)
    await at.side.join(room, ghost)
    await human.send(room, "after")
    if visibility == "joined":
        with pytest.raises(MatrixRejectedError):
            await at.side.behind(room, invite, ghost)
        return
    place, found = await at.side.behind(room, invite, ghost), []
    while place is not None:
        events, place = await at.side.page(room, place, ghost)
        assert len(events) <= 2
        found += events
    assert [one["content"].get("body") or one["content"]["membership"] for one in found] == [
        *("one", "two", "three"),
        "join",
        "after",
    ]


async def test_members_have_their_names(at: Setting) -> None:
    """Joined members with name and picture."""
    room = await at.room()
    ghost, _ = await at.ghost()
    await at.side.set_profile(ghost, "Zoë", None)
    await at.side.join(room, ghost)
    members = await at.side.members(room)
    assert set(members) == {BOT, ghost}
    assert members[ghost].name == "Zoë"


async def test_joined_members_have_their_times(at: Setting) -> None:
    """Each joined member with the time of the event that says so; who left has none."""
    room = await at.room()
    ghost, _ = await at.ghost()
    gone, _ = await at.ghost()
    await at.side.join(room, ghost)
    await at.side.join(room, gone)
    await at.side.leave(room, gone)
    human = await at.homeserver.human()
    await human.join(room)
    joins = await at.side.joins(room)
    assert set(joins) == {BOT, ghost, human.id}
    events = {e["state_key"]: e for e in await human.timeline(room) if e["type"] == "m.room.member"}
    assert joins[UserId(human.id)] == events[human.id]["origin_server_ts"]
    assert joins[BOT] <= joins[ghost] <= joins[UserId(human.id)]


async def test_who_has_left_is_not_believed(at: Setting) -> None:
    """Homeservers show who left the room of then: who reads and whether it is encrypted is asked of others."""
    room = await at.room(power_levels={"events": {"m.room.encryption": 0}})
    ghost, _ = await at.ghost()
    await at.side.join(room, ghost)
    assert await encryption_in(at.side, room, BOT) is None
    await at.side.leave(room, BOT)
    human = await at.homeserver.human()
    await human.join(room)
    await at.side.set_state(room, "m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"}, ghost)
    assert await at.side.state(room, "m.room.encryption") is None
    assert await encryption_in(at.side, room, BOT, ghost)
    reading = await at.side.reading(room, ghost)
    assert reading.viewer == ghost and set(reading.joined) == {ghost, human.id}
    with pytest.raises(MatrixRejectedError, match="M_FORBIDDEN"):
        await encryption_in(at.side, room, BOT)
    with pytest.raises(MatrixRejectedError, match="M_FORBIDDEN"):
        await at.side.reading(room, BOT)


async def test_powers_of_a_room(at: Setting) -> None:
    """The levels, and who is above them all: the creator since room version 12, who is listed until then."""
    room = await at.room(power_levels={"users": {"@somebody:elsewhere": 25}})
    power = await at.side.power(room)
    assert power.levels is not None
    assert power.levels["users"].get("@somebody:elsewhere") == 25
    assert (power.levels["users"].get(BOT) == 100) != (BOT in power.endless)
    human = await at.homeserver.human()
    created = await human.call("POST", "createRoom", {"preset": "public_chat", "room_version": "12"})
    await at.side.join(RoomId(created["room_id"]), BOT)
    assert (await at.side.power(RoomId(created["room_id"]))).endless == {human.id}
    older = await human.call("POST", "createRoom", {"preset": "public_chat", "room_version": "10"})
    await at.side.join(RoomId(older["room_id"]), BOT)
    listed = await at.side.power(RoomId(older["room_id"]))
    assert (listed.endless, (listed.levels or {})["users"]) == (frozenset(), {human.id: 100})


async def test_typing_and_receipts_are_taken(at: Setting) -> None:
    """Typing on and off, and a read receipt."""
    room = await at.room()
    ghost, _ = await at.ghost()
    await at.side.join(room, ghost)
    event_id = await at.side.send(message(room, BOT, None, "read me"), 0)
    await at.side.typing(room, ghost, 5000)
    await at.side.typing(room, ghost, 0)
    await at.side.read(room, ghost, event_id)


async def test_files_go_there_and_back(at: Setting) -> None:
    """Uploaded once per key, of known and unknown size, and downloaded whole."""
    data = secrets.token_bytes(200_000)
    mxc = await at.side.upload(
        BOT, chunks(data[:150_000], data[150_000:]), mime="image/png", name="ä b.png", size=len(data), key="k1"
    )
    assert b"".join([part async for part in at.side.download(mxc, 200_000)]) == data
    again = await at.side.upload(BOT, chunks(data), mime="image/png", name="ä b.png", size=len(data), key="k1")
    assert again == mxc
    other = await at.side.upload(BOT, chunks(b"ab", b"c"), mime="text/plain", name="", size=None, key="k2")
    assert b"".join([part async for part in at.side.download(other, 10)]) == b"abc"
    assert at.keys == {"k1": StoredAddress(mxc, True), "k2": StoredAddress(other, True)}


async def test_downloads_are_bounded(at: Setting) -> None:
    """A file over the limit is refused, one that is not there too."""
    mxc = await at.side.upload(BOT, chunks(b"x" * 100), mime="text/plain", name="x", size=100, key="k")
    with pytest.raises(RejectedError):
        _ = [part async for part in at.side.download(mxc, 99)]
    with pytest.raises(MatrixRejectedError) as caught:
        _ = [part async for part in at.side.download(f"mxc://{SERVER}/doesnotexist", 99)]
    assert caught.value.status == 404


async def test_uploads_over_the_limit_are_refused_before_a_byte(at: Setting) -> None:
    """The homeserver's limit is known, so nothing is sent."""
    with pytest.raises(RejectedError):
        await at.side.upload(BOT, chunks(), mime="video/mp4", name="x", size=10**9, key="k")
    assert at.keys == {}


async def test_events_are_pushed(at: Setting) -> None:
    """What a human sends into a ghost's room arrives in a transaction; so do the bridge's own events."""
    room = await at.room()
    human = await at.homeserver.human()
    await human.call("POST", f"join/{room}")
    event = await at.received.event(await human.send(room, "hello"))
    assert (event["sender"], event["content"]["body"], event["room_id"]) == (human.id, "hello", room)
    await at.received.event(await at.side.send(message(room, BOT, None, "own"), 0))


async def test_unknown_rooms_are_asked_for(at: Setting) -> None:
    """Joining an alias of the namespace asks the bridge, which makes the room."""
    human = await at.homeserver.human()
    alias = f"_asked_{secrets.token_hex(4)}"
    joined = await human.call("POST", f"join/%23{alias}:{SERVER}")
    assert human.id in await at.side.members(RoomId(joined["room_id"]))
    assert (await human.call("POST", f"join/%23_other_{alias}:{SERVER}"))["status"] == 404


async def test_a_ping_with_the_wrong_id_is_explained(at: Setting) -> None:
    """The admin reads what is wrong; a homeserver without ping has nothing to say."""
    if await at.side.ping(ID) is None:
        return
    with pytest.raises(SetupProblemError, match="id of the registration"):
        await at.side.ping("another")


async def test_a_wrong_token_is_explained(at: Setting) -> None:
    """A token the homeserver does not know is a mistake of configuration, never a lost message."""
    side = AppserviceSide(address=at.homeserver.url, as_token="wrong", bot=BOT, media_keys=at.keys, clock=at.clock)
    await side.start()
    with pytest.raises(SetupProblemError, match="as_token"):
        await side.check()
    with pytest.raises(TransientError):
        await side.send(message(RoomId("!a:hs.test"), BOT, None, "waits"), 0)
    await side.stop()


async def test_another_bot_is_explained(at: Setting) -> None:
    """The configured bot must be the registration's."""
    other = UserId(f"@_other:{SERVER}")
    side = AppserviceSide(
        address=at.homeserver.url, as_token=at.homeserver.as_token, bot=other, media_keys=at.keys, clock=at.clock
    )
    await side.start()
    with pytest.raises(SetupProblemError, match="sender_localpart"):
        await side.check()
    await side.stop()
