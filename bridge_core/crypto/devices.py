"""The users we encrypt to: their devices and identities, kept up to date, and how far each device is trusted.

Source: client-server API, "Tracking the device list for a user". A user is asked about again when their mark `outdated`
is above `queried`: the mark that was read before the question. So a change that comes during the question is not lost.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId
from bridge_core.crypto.keyobjects import PeerDevice, digest_of, read_cross_key, read_device
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import CryptoStore, KeyServer, Outdated, Owner, Queried, Row, SecretRow, TrackedRow
from bridge_core.crypto.seldom import Seldom
from bridge_core.crypto.userkeys import UserKeys, packed, past, unpacked
from bridge_core.observe.metrics import Counter

__all__ = ["DeviceLists"]

_CHANGES: Final = 4096
_AFTER_FAILURE: Final = 240_000
"""Milliseconds until a server that did not answer is asked again: less than `outbound._RECHECK`, which asks."""
_RUNS: Final = "runs"
_GONE_KEPT: Final = 200
_YIELD: Final = 50
"""Devices looked at before the loop gets its turn: about 10 ms."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Tracked:
    keys: UserKeys
    queried: int
    outdated: int
    failed_at: int = 0
    asked_at: int = 0
    """Milliseconds since 1970; 0 until this run has asked."""


class DeviceLists:
    """Tracks users. Safe for any number of calls at once: each user is asked about once at a time."""

    def __init__(
        self,
        store: CryptoStore,
        server: KeyServer,
        asker: Owner,
        clock: Clock,
        policy: Policy,
        refused: Counter,
    ) -> None:
        self._store = store
        self._server = server
        self._asker = asker
        self._clock = clock
        self._policy = policy
        self._refused = refused
        self._users: OrderedDict[UserId, _Tracked] = OrderedDict()
        self._asking: dict[UserId, asyncio.Event] = {}
        self._changes: deque[tuple[int, UserId]] = deque(maxlen=_CHANGES)
        self._mark = 0
        self._first = 0
        """What was asked before this run is asked once more: changes may have come while nobody listened."""
        self._loading = 0
        self._marked: dict[UserId, int] = {}
        """Marks that came while rows were being read."""
        self._saving = asyncio.Lock()
        self._seldom = Seldom(clock)
        self.version = 0
        """Grows with each change of anything that is known."""

    async def start(self) -> None:
        """Make sure that marks of this run are above those of all runs before, whatever the clock says."""
        runs = int(await self._store.secret(_RUNS) or b"0") + 1
        await self._store.commit([SecretRow(_RUNS, b"%d" % runs)])
        self._mark = self._first = runs << 32

    def changed_since(self, version: int, users: frozenset[UserId]) -> bool:
        """Whether anything of these users may have changed after that version. Costs as much as there were changes."""
        if version == self.version:
            return False
        if not self._changes or self._changes[0][0] > version + 1:
            return True  # further back than is remembered
        for at, user in reversed(self._changes):
            if at <= version:
                return False
            if user in users:
                return True
        return False

    def marks(self, users: Iterable[UserId]) -> list[Row]:
        """Rows that mark users as outdated; to be told by `outdated` once they are committed."""
        self._mark = mark = self._mark + 1
        return [Outdated(user, mark) for user in users]

    def outdated(self, rows: Iterable[Row]) -> None:
        """Marks of `marks` were committed."""
        for row in rows:
            if isinstance(row, Outdated):
                if self._loading:
                    self._marked[row.user] = row.mark
                tracked = self._users.get(row.user)
                if tracked is not None:
                    tracked.outdated = max(tracked.outdated, row.mark)
                    tracked.failed_at = 0
                self._note(row.user)

    def met(self, users: Iterable[UserId]) -> None:
        """Nobody may have told of changes of these users' devices: they are asked for anew. Does not block."""
        rows = self.marks(users)
        self._store.later(rows)
        self.outdated(rows)

    def reachable(self, user: UserId) -> None:
        """A device of the user's that could not be written to can be: it gets what it lacks with the next message."""
        self._note(user)

    async def known(self, user: UserId) -> UserKeys:
        """What is known of one user, without asking anybody."""
        await self._load([user])
        return self._users[user].keys

    async def tracks(self, user: UserId) -> bool:
        """Whether the user was ever asked about: as a reader of an encrypted room, or as who spoke in one."""
        await self._load([user])
        return bool(self._users[user].queried)

    async def current(self, users: Iterable[UserId]) -> dict[UserId, UserKeys]:
        """What is known of the users, outdated ones asked about first, in batches. Raises as KeyServer.

        Where another server does not answer, what was known is given, and the server is asked again later.
        """
        wanted = list(users)
        found: dict[UserId, UserKeys] = {}
        size = self._policy.query_batch
        for start in range(0, len(wanted), size):
            batch = wanted[start : start + size]
            await self._load(batch)
            for _ in range(3):
                due = [user for user in batch if self._is_due(user)]
                if not due:
                    break
                await self._ask(due)
            found.update((user, self._users[user].keys) for user in batch if user in self._users)
            # More users than are kept in memory: those that were pushed out are read once more.
            for user in batch:
                if user not in found:
                    found[user] = await self.known(user)
        return found

    async def since(self, user: UserId, at: int) -> UserKeys:
        """As `current` for one user, who is asked about anew when that was last done before `at` (ms since 1970).

        For a device that spoke and is not listed: it may be so new that nobody has told of the change yet. A time to
        come asks nothing.
        """
        await self._load([user])
        if self._users[user].asked_at <= at <= self._clock.now_ms():
            self.met([user])
        return (await self.current([user]))[user]

    async def change(
        self, user: UserId, *, block: Sequence[str] = (), unblock: Sequence[str] = (), confirm: str | None = None
    ) -> UserKeys:
        """Block or unblock devices; confirm a master key, which is pinned then, or (empty) take that back."""
        await self._load([user])
        async with self._saving:
            tracked = self._users[user]
            return await self._changed(tracked, block, unblock, confirm)

    async def _changed(
        self, tracked: _Tracked, block: Sequence[str], unblock: Sequence[str], confirm: str | None
    ) -> UserKeys:
        keys = replace(tracked.keys, blocked=(tracked.keys.blocked | set(block)) - set(unblock))
        if confirm is not None:
            keys = replace(keys, confirmed=confirm, pinned=confirm or keys.pinned)
        await self._store.commit([TrackedRow(keys.user, packed(keys), tracked.queried, tracked.outdated)])
        self._took(tracked, keys, tracked.queried)
        return keys

    def _is_due(self, user: UserId) -> bool:
        tracked = self._users.get(user)
        if tracked is None or tracked.outdated <= tracked.queried:
            return False
        return not tracked.failed_at or self._clock.now_ms() - tracked.failed_at > _AFTER_FAILURE

    async def _load(self, users: Sequence[UserId]) -> None:
        missing = [user for user in users if user not in self._users]
        if missing:
            self._loading += 1
            try:
                rows = {row.user: row for row in await self._store.tracked(missing)}
                for user in missing:
                    if user not in self._users:
                        row = rows.get(user)
                        keys = unpacked(user, row.value) if row is not None else UserKeys(user)
                        if keys is None:
                            # Asked for anew. Who they were and what was blocked is not known any more.
                            _log.error("device_list_damaged", user=user)
                            row, keys = None, UserKeys(user)
                        mark = max(row.outdated if row else 1, self._first, self._marked.get(user, 0))
                        self._users[user] = _Tracked(keys, row.queried if row else 0, mark)
            finally:
                self._loading -= 1
                if not self._loading:
                    self._marked.clear()
        for user in users:
            self._users.move_to_end(user)
        while len(self._users) > max(self._policy.loaded_users, len(users)):
            self._users.popitem(last=False)

    async def _ask(self, due: Sequence[UserId]) -> None:
        others = [event for user in due if (event := self._asking.get(user)) is not None]
        mine = [user for user in due if user not in self._asking]
        if mine:
            event = asyncio.Event()
            self._asking.update((user, event) for user in mine)
            try:
                await self._query(mine)
            finally:
                for user in mine:
                    del self._asking[user]
                event.set()
        for event in others:
            await event.wait()

    async def _query(self, users: Sequence[UserId]) -> None:
        tracked = {user: self._users[user] for user in users}
        marks = {user: one.outdated for user, one in tracked.items()}
        for one in tracked.values():
            one.asked_at = self._clock.now_ms()
        # Tracked before they are asked about: a change that comes meanwhile finds a row to mark.
        new = [TrackedRow(user, packed(one.keys), 0) for user, one in tracked.items() if not one.queried]
        if new:
            await self._store.commit(new)
        answer = await self._server.query_keys(self._asker, users)
        async with self._saving:
            await self._answered(tracked, marks, answer)

    async def _answered(self, tracked: Mapping[UserId, _Tracked], marks: Mapping[UserId, int], answer: Queried) -> None:
        rows: list[Row] = []
        changed: list[tuple[_Tracked, UserKeys, int]] = []
        looked = 0
        for user, one in tracked.items():
            if user.partition(":")[2] in answer.failed and user not in answer.devices:
                one.failed_at = self._clock.now_ms()
                continue
            keys = self._read(user, one.keys, answer)
            rows.append(TrackedRow(user, packed(keys), marks[user], one.outdated))
            changed.append((one, keys, marks[user]))
            looked += 1 + len(keys.devices)
            if looked >= _YIELD:
                looked = 0
                await asyncio.sleep(0)
        if rows:
            await self._store.commit(rows)
        for one, keys, mark in changed:
            self._took(one, keys, mark)

    def _took(self, tracked: _Tracked, keys: UserKeys, queried: int) -> None:
        tracked.queried, tracked.failed_at = queried, 0
        if keys != tracked.keys:
            tracked.keys = keys
            self._note(keys.user)

    def _note(self, user: UserId) -> None:
        self.version += 1
        self._changes.append((self.version, user))

    def _read(self, user: UserId, old: UserKeys, answer: Queried) -> UserKeys:
        master = read_cross_key(answer.masters.get(user), user, "master")
        signer = read_cross_key(answer.self_signing.get(user), user, "self_signing", master) if master else ""
        if old.master and master != old.master:
            self._refused.inc("identity_changed")
            confirmed = old.confirmed not in {"", master}
            # Of who was confirmed always: an admin does that, and so there are few.
            if confirmed or self._seldom.is_due("identity_changed"):
                _log.warning("identity_changed", user=user, gone=not master, confirmed=confirmed)
        devices: dict[str, PeerDevice] = {}
        taken: set[str] = set()
        given = answer.devices.get(user)
        given = given if isinstance(given, Mapping) else {}
        # Each costs a signature, right or wrong: those that are known go first, then as many as there may be.
        names = [*(name for name in old.devices if name in given), *(name for name in given if name not in old.devices)]
        if len(names) > self._policy.devices_per_user:
            self._refused.inc("too_many")
        for name in names[: self._policy.devices_per_user]:
            device = self._device(user, name, given[name], signer, old)
            if device is None or device.curve25519 in taken:
                continue
            taken.add(device.curve25519)
            devices[name] = device
        left = {name: past(one.ed25519, one.curve25519) for name, one in old.devices.items() if name not in devices}
        gone = {name: key for name, key in {**old.gone, **left}.items() if name not in devices}
        for name in list(gone)[: max(0, len(gone) - _GONE_KEPT)]:
            del gone[name]
        return replace(old, master=master, pinned=old.pinned or master, self_signing=signer, devices=devices, gone=gone)

    def _device(self, user: UserId, name: str, value: Any, signer: str, old: UserKeys) -> PeerDevice | None:
        known = old.devices.get(name)
        if known is not None and known.seen and known.seen == digest_of(value, signer):
            return known
        device = read_device(value, user, name, signer)
        if device is None:
            self._refused.inc("invalid")
            return None
        before = known.ed25519 if known is not None else old.gone.get(name, "").partition(" ")[0]
        if before not in {"", device.ed25519}:
            # A device's keys never change: whoever has others under its name is somebody else.
            self._refused.inc("keys_changed")
            if self._seldom.is_due("device_keys_changed"):
                _log.warning("device_keys_changed", user=user, device=name)
            if known is not None and signer != old.self_signing:
                # Signed by the identity of before, if at all; whether this one has nobody has shown.
                return replace(known, signed=False, seen="")
            return known
        return device
