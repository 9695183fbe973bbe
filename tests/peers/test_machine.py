"""The bridge's crypto machine on a real Synapse, with two independent clients: they read it, and show no shield."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.counts import CryptoCounts
from bridge_core.crypto.crosssigning import recovery_text
from bridge_core.crypto.errors import MissingKeyError
from bridge_core.crypto.identities import Standing
from bridge_core.crypto.machine import CryptoMachine, Decrypted
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.ports import Owner
from bridge_core.crypto.shares import Skipped
from bridge_core.demo.peers.peer import Peer, nio_peer
from bridge_core.engine.faults import NoFaults
from bridge_core.engine.matrix_ports import SendRequest
from bridge_core.matrix.http import AppserviceHttp
from bridge_core.matrix.listener import Listener
from bridge_core.matrix.queries import NoQueries
from bridge_core.matrix.side import AppserviceSide
from bridge_core.matrix.transaction import Transaction
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal
from tests.conformance.homeservers import ID, SERVER, Homeserver, synapse
from tests.peers.rust import RustPeer, rust_peer
from tests.unit.matrix.doubles import Clock, Keys

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

BOT = UserId(f"@bridgebot:{SERVER}")
SENDER = UserId(f"@bridgesender:{SERVER}")


class Side:
    """An appservice with a machine, its keys on disk: as a bridge has it, without the bridge."""

    def __init__(self, homeserver: Homeserver, folder: Path, policy: Policy, device: str = "MATRIXBRIDGE") -> None:
        self._device = device
        self._hs = homeserver
        self._folder = folder
        self._policy = policy
        self.events: dict[str, dict[str, Any]] = {}
        self.skipped: list[Skipped] = []
        self._news = asyncio.Event()
        self._since: str | None = None
        self.machine: CryptoMachine

    async def start(self) -> None:
        self._database = Database(DatabaseSettings(f"sqlite:///{self._folder / 'bridge.db'}"), Seal("a secret"))
        await self._database.start()
        self.matrix = AppserviceSide(
            address=self._hs.url,
            as_token=self._hs.as_token,
            bot=BOT,
            sender=SENDER,
            media_keys=Keys(),
            clock=Clock(),
            device=self._device,
            timeout=60,
        )
        await self.matrix.start()
        await self.matrix.check()
        device = await self.matrix.ensure_registered(BOT)
        assert device is not None
        self.bot = Owner(BOT, device)
        self.metrics = Metrics()
        self._tasks = TaskOwner("machine")
        self.machine = CryptoMachine(
            self._database.crypto,
            self.matrix.keys,
            self.bot,
            lambda user: user == BOT or user.startswith("@_"),
            Clock(),
            self._policy,
            CryptoCounts(self.metrics),
            self._tasks,
            lambda room, session: self._news.set(),
            lambda room, devices: self.skipped.extend(devices),
            NoFaults(),
            self._made_again,
        )
        await self.machine.start()
        http = AppserviceHttp(self._hs.hs_token, self, NoQueries())
        self._listener = Listener(http.application(), port=self._hs.port)
        await self._listener.start()
        await self.matrix.ping(ID)

    async def _made_again(self, user: UserId) -> bool:
        return await self.matrix.ensure_registered(user) is not None

    async def stop(self) -> None:
        await self._listener.stop()
        await self.machine.stop()
        await self._tasks.close(asyncio.get_running_loop().time() + 10)
        await self.matrix.stop()
        await self._database.stop()

    async def accept(self, txn: Transaction) -> None:
        """As the intake: what the transaction brings is committed before it is answered."""
        taken = self.machine.received(txn.to_device, txn.device_lists, txn.otk_counts, txn.fallback_types)
        await self._database.crypto.commit(taken.rows)
        self.machine.committed(taken)
        for event in txn.events:
            self.events[event["event_id"]] = event
        self._news.set()

    async def ghost(self, room: RoomId) -> Owner:
        """A ghost in a room."""
        user = UserId(f"@_ghost_{secrets.token_hex(4)}:{SERVER}")
        device = await self.matrix.ensure_registered(user)
        assert device is not None
        await self.matrix.join(room, user)
        return Owner(user, device)

    async def send(self, sender: Owner, room: RoomId, body: str, **more: Any) -> str:
        content = orjson.dumps({"msgtype": "m.text", "body": body, **more})
        request = SendRequest(room, "m.room.message", secrets.token_hex(8), sender.user, sender.device, content)
        encrypted = await self.machine.encrypt(request, frozenset(await self.matrix.members(room)))
        assert encrypted.type == "m.room.encrypted" and body.encode() not in encrypted.body
        return await self.matrix.send(encrypted, 0)

    async def reads(self, event_id: str) -> Decrypted:
        """The event in clear, once it and its key are here."""
        async with asyncio.timeout(90):
            while True:
                self._news.clear()
                if event_id not in self.events:
                    await self._news.wait()
                    continue
                try:
                    return await self.machine.decrypt(self.events[event_id])
                except MissingKeyError:
                    await self._look()

    async def _look(self) -> None:
        """As the bridge: what Synapse has dropped from transactions after a restart of ours is in the bot's inbox."""
        found = await self.matrix.keys.sync(self.bot, self._since, wait=1)
        taken = self.machine.received(found.to_device, found.device_lists, found.otk_counts, found.fallback_types)
        await self._database.crypto.commit(taken.rows)
        self.machine.committed(taken)
        self._since = found.since
        await self.machine.handled()

    async def sees(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(90):
            while True:
                self._news.clear()
                for event in list(self.events.values()):
                    if fits(event):
                        return event
                await self._news.wait()


class Meeting:
    """The machine and the two clients, in a room that the Rust client has made."""

    def __init__(
        self, homeserver: Homeserver, folder: Path, side: Side, rust: RustPeer, nio: Peer, room: RoomId
    ) -> None:
        self.homeserver, self.folder = homeserver, folder
        self.side, self.rust, self.nio, self.room = side, rust, nio, room


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at() -> AsyncIterator[Meeting]:
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    async with synapse(folder, encryption=True, sender="bridgesender") as homeserver, AsyncExitStack() as stack:
        # nio knows no cross-signing: it is let in as somebody without any identity.
        side = Side(homeserver, folder, Policy(send=Trust.NO_IDENTITY, backup=True))
        await side.start()
        stack.push_async_callback(side.stop)
        rust = await rust_peer(homeserver.url, folder / "rosa")
        nio = await nio_peer(homeserver.url, folder / "nina")
        for peer in (rust, nio):
            stack.push_async_callback(peer.kill)
            human = await homeserver.human()
            await peer.start(human.id[1:].partition(":")[0], "secret")
        room = RoomId(await rust.create_room(invite=[nio.user_id, BOT], preset="private_chat"))
        await nio.join(room)
        await side.matrix.enter(room, SERVER)
        await side.machine.room_encrypted(room, {"algorithm": "m.megolm.v1.aes-sha2"})
        await side.machine.accounts.ready(side.bot)
        yield Meeting(homeserver, folder, side, rust, nio, room)
    shutil.rmtree(folder, ignore_errors=True)


async def test_the_bot_and_a_ghost_have_no_shield(at: Meeting) -> None:
    """What the bot and a new ghost say is read by both clients; the Rust client shows no shield, isolated or not."""
    ghost = await at.side.ghost(at.room)
    for isolated in (False, True):
        await at.rust.isolate(isolated)
        for sender in (at.side.bot, ghost):
            said = await at.side.send(sender, at.room, f"hello {isolated}")
            seen = await at.rust.wait_unshielded(said)
            assert (seen.body, seen.sender) == (f"hello {isolated}", sender.user)
            assert (await at.nio.wait_readable(said)).body == f"hello {isolated}"
    await at.rust.isolate(False)
    devices = await at.rust.devices(ghost.user)
    assert devices[ghost.device]["signed"]
    assert await at.side.machine.identities.standing(ghost) is Standing.RIGHT
    assert at.side.skipped == []


async def test_the_machine_reads_both(at: Meeting) -> None:
    """What both clients say is read, as of a device their owner has signed, or of an owner without an identity."""
    ghost = await at.side.ghost(at.room)
    await at.side.send(ghost, at.room, "first")
    for peer, trust in ((at.rust, Trust.PINNED), (at.nio, Trust.NO_IDENTITY)):
        said = await peer.send_text(at.room, f"from {peer.user_id}")
        found = await at.side.reads(said)
        assert (found.event["content"]["body"], found.trust) == (f"from {peer.user_id}", trust)
        assert found.device == peer.device_id
        edited = await peer.edit(at.room, said, "edited")
        content = (await at.side.reads(edited)).event["content"]
        assert content["m.relates_to"]["event_id"] == said and content["m.new_content"]["body"] == "edited"


async def test_a_restart_from_disk(at: Meeting) -> None:
    """The machine goes on in its sessions, both ways, and no client sees a new device."""
    said = await at.side.send(at.side.bot, at.room, "before")
    await at.rust.wait_readable(said)
    before = await at.rust.devices(BOT)
    await at.side.stop()
    await at.side.start()
    for number in range(2):
        said = await at.side.send(at.side.bot, at.room, f"after {number}")
        await at.rust.wait_unshielded(said)
        assert (await at.nio.wait_readable(said)).body == f"after {number}"
    assert await at.rust.devices(BOT) == before
    for peer in (at.rust, at.nio):
        said = await peer.send_text(at.room, "to you")
        assert (await at.side.reads(said)).event["content"]["body"] == "to you"


async def test_a_late_key(at: Meeting) -> None:
    """A message whose key is held back is missing its key, and is read once that comes."""
    for peer in (at.rust, at.nio):
        await peer.discard(at.room)
        await peer.hold()
        said = await peer.send_text(at.room, "late")
        event = await at.side.sees(lambda event, said=said: event["event_id"] == said)  # type: ignore[misc]
        with pytest.raises(MissingKeyError):
            await at.side.machine.decrypt(event)
        assert await peer.release() > 0
        assert (await at.side.reads(said)).event["content"]["body"] == "late"


async def test_a_blocked_device(at: Meeting) -> None:
    """A device that is blocked does not read on, the others do; let in again, it reads from then on."""
    ghost = await at.side.ghost(at.room)
    said = await at.side.send(ghost, at.room, "with nina")
    assert (await at.nio.wait_readable(said)).body == "with nina"
    await at.side.machine.devices.change(UserId(at.nio.user_id), block=[at.nio.device_id])
    said = await at.side.send(ghost, at.room, "without nina")
    assert (await at.rust.wait_readable(said)).body == "without nina"
    assert (await at.nio.wait_event(said)).failure is not None
    await at.side.machine.devices.change(UserId(at.nio.user_id), unblock=[at.nio.device_id])
    said = await at.side.send(ghost, at.room, "with nina again")
    assert (await at.nio.wait_readable(said)).body == "with nina again"


async def test_the_backup_of_keys(at: Meeting) -> None:
    """What the machine has saved, the Rust client restores from its key, and so does a machine with an empty database.

    The client is another account's, which the backup was copied to, and knows nothing of what was said before.
    """
    said = [await peer.send_text(at.room, f"saved of {peer.user_id}") for peer in (at.rust, at.nio)]
    before = [await at.side.reads(one) for one in said]
    said.append(await at.side.send(at.side.bot, at.room, "saved of the bot"))
    machine = at.side.machine
    assert machine.backup is not None
    while await machine.backup.save():
        pass
    status = await machine.backup.status()
    assert (status.waiting, status.trouble) == (0, "") and status.saved >= 3

    made = await at.side.matrix.keys.backup_version(at.side.bot)
    assert made is not None
    stored = await at.side.matrix.keys._hs.get("room_keys", "keys", user=BOT, query={"version": made.version})
    human = await at.homeserver.human()
    body = {"algorithm": made.algorithm, "auth_data": dict(made.auth_data)}
    version = (await human.call("POST", "room_keys/version", body))["version"]
    assert (await human.call("PUT", f"room_keys/keys?version={version}", stored))["count"] == status.saved
    await at.side.matrix.keys._hs.post("rooms", at.room, "invite", content={"user_id": human.id}, user=BOT)
    peer = await rust_peer(at.homeserver.url, at.folder / "new")
    try:
        await peer.start(human.id[1:].partition(":")[0], "secret")
        await peer.join(at.room)
        restored = await peer.restore(recovery_text(await machine.cross.backup_secret()), version)
        assert restored == {"total": status.saved, "imported": status.saved}
        for one, body_ in zip(said, ("saved of ", "saved of ", "saved of the bot"), strict=True):
            assert (await peer.wait_readable(one)).body.startswith(body_)
    finally:
        await peer.kill()

    key = await machine.cross.recovery_key()
    empty = at.folder / "empty"
    empty.mkdir()
    other = Side(at.homeserver, empty, Policy(send=Trust.NO_IDENTITY, backup=True))
    await at.side.stop()
    await other.start()
    try:
        await other.machine.cross.restore(key)
        for one, was in zip(said, before, strict=False):
            event = at.side.events[one]
            with pytest.raises(MissingKeyError) as missing:
                await other.machine.decrypt(event)
            assert await other.machine.recall(missing.value)
            found = await other.machine.decrypt(event)
            assert (found.event["content"], found.device) == (was.event["content"], was.device)
        assert await other.machine.identities.standing(other.bot) is Standing.OTHER
    finally:
        await other.stop()
        await at.side.start()


async def test_a_lost_database(at: Meeting) -> None:
    """With the recovery key and devices of another name, bot and ghosts go on without a shield, and read again."""
    ghost = await at.side.ghost(at.room)
    await at.rust.wait_readable(await at.side.send(ghost, at.room, "before"))
    await at.rust.wait_readable(await at.side.send(at.side.bot, at.room, "before"))
    key = await at.side.machine.cross.recovery_key()
    folder = at.folder / "lost"
    folder.mkdir()
    await at.side.stop()
    new = Side(at.homeserver, folder, Policy(send=Trust.NO_IDENTITY), "SECOND")
    await new.start()
    try:
        await new.machine.cross.restore(key)
        await new.machine.accounts.ready(new.bot)
        await new.machine.room_encrypted(at.room, {"algorithm": "m.megolm.v1.aes-sha2"})
        assert await new.matrix.ensure_registered(ghost.user) == "SECOND"
        for sender in (new.bot, Owner(ghost.user, "SECOND")):
            said = await new.send(sender, at.room, "after")
            await at.rust.wait_unshielded(said)
            assert (await at.nio.wait_readable(said)).body == "after"
            identity = await at.rust.identity(sender.user)
            assert identity["exists"] and not identity["changed"]
        # After an outage Synapse pushes nothing for devices until all that waited is through.
        await new.sees(lambda event: event["event_id"] == said)
        for peer in (at.rust, at.nio):
            said = await peer.send_text(at.room, "are you there?")
            assert (await new.reads(said)).event["content"]["body"] == "are you there?"
    finally:
        await new.stop()
        await at.side.start()


async def test_a_deleted_device(at: Meeting) -> None:
    """A ghost whose device was deleted on the homeserver gets it back, with its keys, and is read without a shield."""
    ghost = await at.side.ghost(at.room)
    said = await at.side.send(ghost, at.room, "one")
    await at.rust.wait_readable(said)
    homeserver = at.side.matrix.keys._hs
    url = homeserver.addresses.of("client", "v3", "devices", ghost.device, user=ghost.user)
    await homeserver.requests.json("DELETE", url, b"{}")
    await at.side.machine.discard(ghost, at.room)
    said = await at.side.send(ghost, at.room, "two")
    await at.rust.wait_unshielded(said)
    assert await at.side.machine.identities.standing(ghost) is Standing.RIGHT


async def test_a_reset_identity(at: Meeting) -> None:
    """A ghost whose identity was reset is read without a shield all the same: its device is signed anew."""
    ghost = await at.side.ghost(at.room)
    await at.side.send(ghost, at.room, "one")
    await at.side.machine.identities.reset(ghost)
    said = await at.side.send(ghost, at.room, "two")
    await at.rust.wait_unshielded(said)


async def test_wiped_clients(at: Meeting) -> None:
    """A client that has lost everything is a new device, of a new identity where it makes one: both ways work again."""
    for peer in (at.nio, at.rust):
        said = await at.side.send(at.side.bot, at.room, "before")
        await peer.wait_readable(said)
        user, device = peer.user_id, peer.device_id
        await peer.stop()
        peer.wipe()
        peer.events.clear()
        await peer.start(user[1:].partition(":")[0], "secret")
        assert peer.device_id != device
        said = await peer.send_text(at.room, "I am new")
        found = await at.side.reads(said)
        assert (found.event["content"]["body"], found.device) == ("I am new", peer.device_id)
        said = await at.side.send(at.side.bot, at.room, "welcome back")
        assert (await peer.wait_readable(said)).body == "welcome back"
