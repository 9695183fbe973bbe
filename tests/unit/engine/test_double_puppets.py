"""Acting as users: tokens given and taken back, and what happens when one dies."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import Membership, RemoteMember, RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, MessageId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.network import Login
from bridge_core.matrix.transaction import Transaction
from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.scripted import Script

NET = NetworkId("net")
GHOST = "@_net_me:hs.test"


@pytest.fixture(name="script")
def _script() -> Script:
    script = Script()
    script.moderates = True
    return script


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        network = harness.running.networks.get(NET)
        assert network is not None
        await network.add(Login(LoginId("me"), UserId(harness.alice.id), "Me"))
        yield harness


async def _says(bridge: Harness, script: Script, room: str, text: str) -> str:
    """Who says on Matrix what alice says elsewhere."""
    sender = RemoteSender(RemoteUserId("me"), "Me", LoginId("me"))
    assert script.inbox is not None
    await script.inbox.receive(
        [RemoteMessage(ChatId("lobby"), sender, Content((Plain(text),)), MessageId(text), timestamp=1)]
    )
    event = await bridge.homeserver.wait_event(room, lambda e: e["content"].get("body") == text)
    return str(event["sender"])


async def _management(bridge: Harness, user: FakeUser) -> str:
    room = user.create_room(invite=[bridge.homeserver.bot], preset="trusted_private_chat")
    await bridge.homeserver.wait_event(room, lambda e: "management room" in str(e["content"].get("body")))
    return room


async def test_a_token_is_given_and_taken_back(bridge: Harness, script: Script) -> None:
    """`login-matrix` takes a token, erases it, and keeps it over a restart; `logout-matrix` forgets it."""
    alice = bridge.alice
    room = await bridge.portal_room("net", "lobby")
    management = await _management(bridge, alice)
    assert await _says(bridge, script, room, "before") == GHOST
    given = alice.send(management, f"login-matrix {alice.token}")
    await bridge.homeserver.wait_event(management, lambda e: "I act as you" in str(e["content"].get("body")))
    assert "body" not in next(e for e in alice.sees(management) if e["event_id"] == given)["content"]
    assert await _says(bridge, script, room, "as alice") == alice.id
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert await _says(bridge, script, room, "still alice") == alice.id
    alice.send(management, "logout-matrix")
    await bridge.homeserver.wait_event(management, lambda e: "as you no more" in str(e["content"].get("body")))
    assert await _says(bridge, script, room, "after") == GHOST
    assert not await bridge.running.database.kv.items("double_puppet", "")


async def test_a_token_in_a_shared_room_is_erased_and_not_taken(bridge: Harness) -> None:
    """Who gives a token where others read along is sent to the management room, and the token is taken back."""
    alice = bridge.alice
    room = await bridge.portal_room("net", "lobby")
    given = alice.send(room, f"!bridge login-matrix {alice.token}")
    await bridge.homeserver.wait_event(room, lambda e: "in your management room" in str(e["content"].get("body")))
    assert "body" not in next(e for e in alice.sees(room) if e["event_id"] == given)["content"]
    assert not bridge.running.engine.puppets.works(UserId(alice.id))


@pytest.mark.parametrize("token", ["nonsense", "", "two\nlines", "x" * 5000, "umläut"])
async def test_a_token_that_does_not_work_is_refused(bridge: Harness, token: str) -> None:
    """What is no token of the user is refused, and nothing is kept of it."""
    with pytest.raises(RejectedError):
        await bridge.running.engine.puppets.log_in(UserId(bridge.alice.id), token)
    assert not bridge.running.engine.puppets.works(UserId(bridge.alice.id))
    assert not await bridge.running.database.kv.items("double_puppet", "")


async def test_somebody_elses_token_is_refused(bridge: Harness) -> None:
    """A token stands for its own user only; users of servers that are not set up cannot give one."""
    puppets = bridge.running.engine.puppets
    with pytest.raises(RejectedError, match="somebody else's"):
        await puppets.log_in(UserId(bridge.homeserver.user("mallory").id), bridge.alice.token)
    with pytest.raises(RejectedError, match="elsewhere is not set up"):
        await puppets.log_in(UserId("@alice:elsewhere"), bridge.alice.token)


async def test_a_dead_token_loses_nothing(bridge: Harness, script: Script) -> None:
    """When the token is accepted no more the ghost says it, once, and the user is told what to do."""
    alice = bridge.alice
    room = await bridge.portal_room("net", "lobby")
    management = await _management(bridge, alice)
    await bridge.running.engine.puppets.log_in(UserId(alice.id), alice.token)
    assert await _says(bridge, script, room, "as alice") == alice.id
    bridge.homeserver._world.accounts[alice.id].token = "another"
    assert await _says(bridge, script, room, "as her ghost") == GHOST
    assert await _says(bridge, script, room, "again") == GHOST
    await bridge.homeserver.wait_event(management, lambda e: "I cannot act as you" in str(e["content"].get("body")))
    await bridge.settled()
    said = [body for _, body in bridge.homeserver.messages(room)]
    assert [said.count(text) for text in ("as alice", "as her ghost", "again")] == [1, 1, 1]
    audit = await bridge.running.journal.audit()
    assert audit.holds and audit.balances["net", 1].rejected == 0


async def test_a_user_who_may_not_use_the_bridge_is_no_puppet(bridge: Harness, script: Script) -> None:
    """Whose permission was taken is not acted for any more, whatever token there is."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.running.engine.puppets.log_in(UserId(bridge.alice.id), bridge.alice.token)
    await bridge.stop_bridge()
    bridge.sections["permissions"] = {"@alice:hs.test": "relay"}
    await bridge.start_bridge()
    assert await _says(bridge, script, room, "demoted") == GHOST


async def test_who_comes_and_goes_elsewhere_does_so_here(bridge: Harness, script: Script) -> None:
    """However late the events of what the bridge did as a user come back, it knows where they are; nobody is told."""
    room = await bridge.portal_room("net", "lobby")
    there, alice, intake = bridge.homeserver.room(room), bridge.alice, bridge.running.engine.intake
    await bridge.running.engine.puppets.log_in(UserId(alice.id), alice.token)
    await bridge.settled()
    script.moved.clear()
    accept, on_time = intake.accept, asyncio.Event()

    async def late(txn: Transaction) -> None:
        await on_time.wait()
        await accept(txn)

    intake.accept = late  # type: ignore[method-assign]
    me = RemoteSender(RemoteUserId("me"), "Me", LoginId("me"))
    assert script.inbox is not None
    for membership in (Membership.LEAVE, Membership.JOIN, Membership.LEAVE):
        await script.inbox.receive([RemoteMember(ChatId("lobby"), me, membership)])
        await bridge.until(lambda now=membership: there.membership(alice.id) == now.value)  # type: ignore[misc]
    on_time.set()
    await bridge.settled()
    assert script.moved == []
    alice.join(room)
    await bridge.until(lambda: script.moved)
    assert script.moved == [("me", "enter", "lobby")]


_TOKEN = "pp-Qw83nRt5Hj17Lk29Zx64Vb80Mc31Df57"


@pytest.fixture(name="by_server")
async def _by_server(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    """A bridge that may act as all users of its server."""
    sections = {"double_puppet": {"servers": {"hs.test": {"as_token": _TOKEN}}}}
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}, **sections) as harness:
        harness.homeserver._world.puppet_token = _TOKEN
        yield harness


@pytest.mark.parametrize("asked", ["the store", "the homeserver"])
async def test_a_no_holds_for_what_is_being_asked(
    by_server: Harness, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Who forbids it while the bridge finds out whether it can act as them is not acted for, until they allow it."""
    puppets, alice = by_server.running.engine.puppets, UserId(by_server.alice.id)
    users, matrix, said = by_server.running.database.users, by_server.running.matrix, []
    get, verify = users.get, matrix.verify_puppet

    async def say_no(where: str) -> None:
        if where == asked and not said:
            said.append(alice)
            await puppets.log_out(alice)

    async def getting(user: UserId) -> Any:
        row = await get(user)
        await say_no("the store")
        return row

    async def verifying(user: UserId, token: str | None) -> None:
        await verify(user, token)
        await say_no("the homeserver")

    monkeypatch.setattr(users, "get", getting)
    monkeypatch.setattr(matrix, "verify_puppet", verifying)
    assert not await puppets.can(alice)
    assert said and not puppets.works(alice)
    assert not await puppets.can(alice)
    assert await puppets.allow(alice) and await puppets.can(alice)


async def test_a_token_that_was_to_be_forgotten_is_not_taken_up(
    bridge: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the token could not be removed any more the no is stored all the same, and a restart keeps to it."""
    alice, database = UserId(bridge.alice.id), bridge.running.database
    await bridge.running.engine.puppets.log_in(alice, bridge.alice.token)

    async def fails(namespace: str, key: str, value: bytes | None) -> None:
        raise TransientError("the database is away")

    with monkeypatch.context() as patched, pytest.raises(TransientError):
        patched.setattr(database.kv, "put", fails)
        await bridge.running.engine.puppets.log_out(alice)
    assert await database.kv.items("double_puppet", "")
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert not await bridge.running.engine.puppets.can(alice)
    assert not await bridge.running.database.kv.items("double_puppet", "")


async def test_a_no_holds_against_a_login_that_ends_meanwhile(bridge: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a login that was under way has done while the no was stored, nobody is acted for behind it."""
    alice, puppets, kv = UserId(bridge.alice.id), bridge.running.engine.puppets, bridge.running.database.kv
    put = kv.put

    async def putting(namespace: str, key: str, value: bytes | None) -> None:
        if namespace == "double_puppet" and value is None:
            await puppets.log_in(alice, bridge.alice.token)
        await put(namespace, key, value)

    monkeypatch.setattr(kv, "put", putting)
    await puppets.log_out(alice)
    assert not puppets.works(alice) and not await puppets.can(alice)


async def test_a_no_outlives_a_new_management_room(bridge: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user says while the bridge looks at their old management room is kept with the new one."""
    alice, old = UserId(bridge.alice.id), await _management(bridge, bridge.alice)
    bridge.alice.leave(old)
    await bridge.settled()
    engine, matrix = bridge.running.engine, bridge.running.matrix
    members, said = matrix.members, list[str]()

    async def asking(room: RoomId) -> Any:
        if room == old and not said:
            said.append(room)
            await engine.puppets.log_out(alice)
        return await members(room)

    monkeypatch.setattr(matrix, "members", asking)
    new = await _management(bridge, bridge.alice)
    row = await bridge.running.database.users.get(alice)
    assert said and row is not None
    assert (row.management_room, row.options) == (new, {"double_puppet": False})
