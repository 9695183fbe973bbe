"""A homeserver's keys and to-device messages in memory, and bridges that talk to each other over it."""

import asyncio
import copy
import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.counts import CryptoCounts
from bridge_core.crypto.errors import IdentityFailedError
from bridge_core.crypto.machine import CryptoMachine, Decrypted
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import BackupVersion, Claimed, Owner, Queried
from bridge_core.crypto.shares import Skipped
from bridge_core.engine.matrix_ports import MatrixRejectedError, SendRequest
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner
from bridge_core.testing.homeserver.backups import Backup
from tests.unit.crypto.memory import Killed, MemoryCryptoStore

ROOM = RoomId("!room:test")
MEGOLM = "m.megolm.v1.aes-sha2"


class HandClock:
    """Time that tests turn."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        await asyncio.sleep(0)


class KeyWorld:
    """What a homeserver does with keys. `error`: raised by the next calls of these names, one each."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[str, Any]] = {}
        self.one_time: dict[Owner, dict[str, Any]] = {}
        self.fallback: dict[Owner, dict[str, Any]] = {}
        self.cross: dict[str, dict[str, Any]] = {}
        self.retired: set[str] = set()
        self.queue: dict[str, deque[dict[str, Any]]] = {}
        self.changed: dict[str, set[str]] = {}
        self.bridges: dict[str, Bridge] = {}
        self.calls: list[tuple[str, Owner, Any]] = []
        self.errors: dict[str, list[BaseException]] = {}
        self.silent: set[str] = set()
        """Servers that do not answer."""
        self.sent: list[tuple[str, str, str, Any]] = []
        self.backups: dict[str, dict[str, Backup]] = {}
        self.versions = 0
        self.data: dict[tuple[str, str], Mapping[str, Any]] = {}

    def count(self, name: str) -> int:
        return sum(call[0] == name for call in self.calls)

    async def _call(self, name: str, owner: Owner, what: Any) -> None:
        self.calls.append((name, owner, copy.deepcopy(what)))
        await asyncio.sleep(0)
        errors = self.errors.get(name)
        if errors:
            raise errors.pop(0)

    def tell_changed(self, user: str) -> None:
        for prefix in self.bridges:
            if not user.startswith(prefix):
                self.changed.setdefault(prefix, set()).add(user)

    async def upload_keys(self, owner: Owner, body: Mapping[str, Any]) -> dict[str, int]:
        await self._call("upload_keys", owner, body)
        known = self.one_time.setdefault(owner, {})
        for name, key in body.get("one_time_keys", {}).items():
            if name in known and known[name]["key"] != key["key"]:  # as Synapse
                raise MatrixRejectedError("M_UNKNOWN", f"One time key {name} already exists.", 400)
        if "device_keys" in body:
            self.devices.setdefault(owner.user, {})[owner.device] = body["device_keys"]
            self.tell_changed(owner.user)
        known.update(body.get("one_time_keys", {}))
        if body.get("fallback_keys"):
            self.fallback[owner] = dict(body["fallback_keys"])
        return {"signed_curve25519": len(known)}

    async def query_keys(self, owner: Owner, users: Sequence[UserId]) -> Queried:
        await self._call("query_keys", owner, list(users))
        heard = [user for user in users if user.partition(":")[2] not in self.silent]
        picked = copy.deepcopy({user: self.devices.get(user, {}) for user in heard})
        cross = copy.deepcopy({user: self.cross[user] for user in heard if user in self.cross})

        def of(kind: str) -> dict[str, Any]:
            return {user: keys[kind] for user, keys in cross.items() if kind in keys}

        return Queried(picked, of("master_key"), of("self_signing_key"), of("user_signing_key"), frozenset(self.silent))

    async def claim_keys(self, owner: Owner, wanted: Mapping[UserId, Mapping[str, str]]) -> Claimed:
        await self._call("claim_keys", owner, wanted)
        keys: dict[str, dict[str, Any]] = {}
        for user, devices in wanted.items():
            for device in devices:
                place = Owner(user, device)
                pool = self.one_time.get(place) or {}
                if pool:
                    key_id = next(iter(pool))
                    keys.setdefault(user, {})[device] = {key_id: pool.pop(key_id)}
                elif place in self.fallback:
                    keys.setdefault(user, {})[device] = dict(self.fallback[place])
        return Claimed(keys)

    async def send_to_device(
        self, owner: Owner, event_type: str, txn: str, messages: Mapping[UserId, Mapping[str, Mapping[str, Any]]]
    ) -> None:
        await self._call("send_to_device", owner, messages)
        for user, devices in messages.items():
            targets = self.devices.get(user, {}) if "*" in devices else devices
            for device in targets:
                content = devices.get(device, devices.get("*"))
                self.sent.append((event_type, user, device, content))
                self.put(owner.user, user, device, event_type, content)

    def put(self, sender: str, user: str, device: str, event_type: str, content: Any) -> None:
        for prefix in self.bridges:
            if user.startswith(prefix):
                entry = {"sender": sender, "to_user_id": user, "to_device_id": device, "type": event_type}
                entry["content"] = content
                self.queue.setdefault(prefix, deque()).append(orjson.loads(orjson.dumps(entry)))

    async def upload_cross_signing(self, owner: Owner, body: Mapping[str, Any]) -> None:
        await self._call("upload_cross_signing", owner, body)
        public = next(iter(body["master_key"]["keys"].values()))
        if public in self.retired and self.cross[owner.user] != body:
            raise IdentityFailedError("the homeserver answered 500 (M_UNKNOWN)")
        self.retired.add(public)
        self.cross[owner.user] = dict(body)
        self.tell_changed(owner.user)

    async def account_data(self, owner: Owner, kind: str) -> Mapping[str, Any] | None:
        await self._call("account_data", owner, kind)
        return copy.deepcopy(self.data.get((owner.user, kind)))

    async def put_account_data(self, owner: Owner, kind: str, content: Mapping[str, Any]) -> None:
        await self._call("put_account_data", owner, content)
        self.data[owner.user, kind] = orjson.loads(orjson.dumps(content))

    async def upload_signatures(self, owner: Owner, body: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        await self._call("upload_signatures", owner, body)
        return {}

    async def backup_version(self, owner: Owner) -> BackupVersion | None:
        await self._call("backup_version", owner, None)
        mine = self.backups.get(owner.user)
        if not mine:
            return None
        version = max(mine, key=int)
        return BackupVersion(version, mine[version].algorithm, mine[version].auth_data, mine[version].count)

    async def make_backup(self, owner: Owner, algorithm: str, auth_data: Mapping[str, Any]) -> str:
        await self._call("make_backup", owner, auth_data)
        self.versions += 1
        version = str(self.versions)
        self.backups.setdefault(owner.user, {})[version] = Backup(algorithm, dict(auth_data))
        return version

    async def put_backup(self, owner: Owner, version: str, rooms: Mapping[RoomId, Mapping[str, Any]]) -> int:
        await self._call("put_backup", owner, rooms)
        mine = self.backups.get(owner.user, {})
        if version not in mine:
            raise MatrixRejectedError("M_NOT_FOUND", "no such version", 404)
        if version != max(mine, key=int):
            raise MatrixRejectedError("M_WRONG_ROOM_KEYS_VERSION", "another is the current one", 403)
        for room, sessions in rooms.items():
            for session, data in sessions.items():
                mine[version].put(room, session, orjson.loads(orjson.dumps(data)))
        return mine[version].count

    async def backed_up(self, owner: Owner, version: str, room: RoomId, session: str) -> Mapping[str, Any] | None:
        await self._call("backed_up", owner, session)
        found = self.backups.get(owner.user, {}).get(version)
        return copy.deepcopy(found.rooms.get(room, {}).get(session)) if found is not None else None


class Faults:
    """Raises at a named place."""

    def __init__(self) -> None:
        self.at: dict[str, BaseException] = {}
        self.seen: list[str] = []

    def hit(self, name: str) -> None:
        self.seen.append(name)
        error = self.at.pop(name, None)
        if error is not None:
            raise error


class Bridge:
    """A machine whose users begin with `@NAME_`, its store, and what it was told."""

    def __init__(self, world: KeyWorld, name: str, policy: Policy | None = None) -> None:
        self.world = world
        self.name = name
        self.prefix = f"@{name}_"
        self.policy = policy or Policy()
        self.store = MemoryCryptoStore()
        self.clock = HandClock()
        self.bot = Owner(UserId(f"@{name}_bot:test"), "BRIDGE")
        self.arrived: list[tuple[str, str]] = []
        self.withheld: list[tuple[str, str, str]] = []
        self.skipped: list[tuple[str, list[Skipped]]] = []
        self.events = itertools.count(1)
        self.txns = itertools.count(1)
        self.machine: CryptoMachine
        world.bridges[self.prefix] = self

    async def start(self, *, restored: bool = False) -> "Bridge":
        """Start, or start again after `kill`: from what the store has."""
        self.faults = Faults()
        self.dead = False
        self.metrics = Metrics()
        self.died = asyncio.Event()
        self.made: list[str] = []
        self.tasks = TaskOwner(self.name, lambda name, error: self.died.set())
        self.machine = CryptoMachine(
            self.store,
            self.world,
            self.bot,
            lambda user: user.startswith(self.prefix),
            self.clock,
            self.policy,
            CryptoCounts(self.metrics),
            self.tasks,
            lambda room, session: self.arrived.append((room, session)),
            lambda room, devices: self.skipped.append((room, list(devices))),
            self.faults,
            self._make_device,
            lambda room, session, user: self.withheld.append((room, session, user)),
        )
        await self.machine.start(restored=restored)
        return self

    async def _make_device(self, user: UserId) -> bool:
        self.made.append(user)
        return True

    def die_at(self, number: int, when: str) -> None:
        """End the process before or after its commit of this number from now on."""
        first = self.store.commits

        def at_commit(commit: int, place: str) -> None:
            if (commit - first, place) == (number, when) or self.dead:
                self.dead = True
                raise Killed

        self.store.at_commit = at_commit

    async def kill(self) -> None:
        """The process ends without a word."""
        await self.tasks.close(asyncio.get_running_loop().time() + 5)
        self.store.lose_memory()

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    def ghost(self, name: str) -> Owner:
        return Owner(UserId(f"{self.prefix}{name}:test"), "BRIDGE")

    async def join(self, *names: str) -> list[Owner]:
        """Make the keys of users of ours."""
        owners = [self.ghost(name) for name in names]
        for owner in owners:
            await self.machine.accounts.ready(owner)
        return owners

    async def encrypted_room(self, room: RoomId = ROOM, **content: Any) -> None:
        assert await self.machine.room_encrypted(room, {"algorithm": MEGOLM, **content})

    async def send(
        self, sender: Owner, text: str, to: Sequence[Owner], room: RoomId = ROOM, **more: Any
    ) -> dict[str, Any]:
        """An event as the room would show it."""
        body = {"msgtype": "m.text", "body": text, **more}
        request = SendRequest(room, "m.room.message", f"t{next(self.txns)}", sender.user, sender.device, b"")
        request = SendRequest(room, "m.room.message", request.txn, sender.user, sender.device, orjson.dumps(body))
        found = await self.machine.encrypt(request, frozenset(owner.user for owner in to))
        return {
            "type": found.type,
            "room_id": room,
            "sender": sender.user,
            "event_id": f"${self.name}{next(self.events)}",
            "origin_server_ts": self.clock.ms,
            "content": orjson.loads(found.body),
        }

    def take(self) -> None:
        """Take one transaction with all that waits for us, as the intake does."""
        queue = self.world.queue.pop(self.prefix, deque())
        changed = self.world.changed.pop(self.prefix, set())
        counts: dict[str, dict[str, Any]] = {}
        unused: dict[str, dict[str, list[str]]] = {}
        for owner, keys in self.world.one_time.items():
            if owner.user.startswith(self.prefix):
                left = {"signed_curve25519": len(keys)} if keys else {}
                counts.setdefault(owner.user, {})[owner.device] = left
                unused.setdefault(owner.user, {})[owner.device] = ["signed_curve25519"]
        taken = self.machine.received(list(queue), {"changed": sorted(changed)}, counts, unused)
        self.store.written(taken.writes)
        self.machine.committed(taken)

    async def hear(self) -> None:
        """Take a transaction and return when it is handled, and what follows from it done."""
        self.take()
        await self.settle()

    async def settle(self) -> None:
        """Return when all is handled. Raises Killed when the process ended meanwhile."""
        async with asyncio.timeout(60):
            handled, died = (asyncio.ensure_future(one) for one in (self.machine.handled(), self.died.wait()))
            await asyncio.wait({handled, died}, return_when=asyncio.FIRST_COMPLETED)
            while not self.died.is_set() and [one for one in self.tasks.names if not one.endswith("crypto-inbox")]:
                await asyncio.sleep(0)
            handled.cancel()
            died.cancel()
        if self.died.is_set():
            raise Killed

    async def read(self, event: Mapping[str, Any]) -> str:
        return (await self.decrypted(event)).event["content"]["body"]

    async def decrypted(self, event: Mapping[str, Any]) -> Decrypted:
        return await self.machine.decrypt(orjson.loads(orjson.dumps(event)))

    def total(self, name: str, *labels: str) -> int:
        return self.metrics.snapshot()[f"crypto_{name}"].get(labels, 0)
