"""The backup of the sessions we can read in, kept for the bot by the homeserver: filled in the background, read when
a key is missing.

Source: client-server API, "Server-side key backups". Its key is made from the recovery key, so whoever has written
that down can read old messages again after the database is lost. A backup that was not made with our recovery key is
somebody's: it is neither written nor replaced until an admin says so.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId
from bridge_core.crypto.backupdata import ALGORITHM, BackupSeal
from bridge_core.crypto.crosssigning import CrossSigning
from bridge_core.crypto.errors import DamagedKeyError, OlmError
from bridge_core.crypto.inbound import Inbounds
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import (
    BackupVersion,
    CryptoStore,
    InboundRow,
    InboundSaved,
    KeyServer,
    Owner,
    SecretRow,
)
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.matrix_ports import MatrixRejectedError
from bridge_core.observe.metrics import Counter

__all__ = ["BackupStatus", "KeyBackup"]

_NAME: Final = "backup"
_IDLE: Final = 600.0
_PATIENCE: Final = 5.0
"""Seconds that who asks how the backup is waits for the homeserver."""
_RETRY: Final = (2.0, 3600.0)
_AT_ONCE: Final = 4
_ABSENT: Final = 10_000
_ABSENT_MS: Final = 3_600_000
_LOOKED_AGAIN: Final = 1_000
_SLICE: Final = 8
"""Sessions that are sealed before others may run: about 3 ms."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """`version` is empty while there is none of ours. `saved` sessions are in it, `waiting` are not yet.

    Not `settled`: the homeserver has not told yet which backup it has for the recovery key in use.
    """

    version: str
    saved: int
    waiting: int
    trouble: str
    settled: bool = True


@dataclass(frozen=True, slots=True)
class _Known:
    """The version that we have used last. The generation grows with each that is another."""

    version: str = ""
    public: str = ""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class _Current:
    """The version that is used. `epoch` is that of the recovery key."""

    version: str
    generation: int
    seal: BackupSeal
    epoch: str


class KeyBackup:
    """Saves and recalls sessions as the bot. `run` in a task whose owner ends it."""

    def __init__(
        self,
        store: CryptoStore,
        server: KeyServer,
        cross: CrossSigning,
        inbounds: Inbounds,
        bot: Owner,
        clock: Clock,
        policy: Policy,
        counted: Counter,
        faults: FaultPoints,
    ) -> None:
        self._store = store
        self._server = server
        self._cross = cross
        self._inbounds = inbounds
        self._bot = bot
        self._clock = clock
        self._policy = policy
        self._counted = counted
        self._faults = faults
        self._current: _Current | None = None
        self._lock = asyncio.Lock()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._news = asyncio.Event()
        self._absent: OrderedDict[tuple[RoomId, str], int] = OrderedDict()
        """What was not there, and when."""
        self._again: list[tuple[RoomId, str]] = []
        """What was not there before the version that is used now: looked for once more."""
        self._epoch = ""
        """That of the recovery key with which the homeserver's version was looked at last."""
        self._saved = 0
        self._trouble = ""

    def wake(self) -> None:
        """There may be something to save, or another recovery key. Does not block."""
        self._news.set()

    async def run(self) -> None:
        """Save what is not in the backup, in batches with a pause between them, until cancelled."""
        delay = _RETRY[0]
        while True:
            self._news.clear()
            try:
                more = await self.save()
            except RateLimitedError as error:
                await self._clock.sleep(error.retry_after)
                continue
            except BridgeError as error:
                self._trouble = str(error)
                self._counted.inc("failed")
                _log.warning("key_backup_failed", error=str(error), retry_in=delay)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _RETRY[1])
                continue
            delay = _RETRY[0]
            if not more:
                await self._rest()
            await self._clock.sleep(self._policy.backup_pause / 1000)

    async def save(self) -> bool:
        """Put one batch into the backup; whether there may be more. Raises as KeyServer and CryptoStore."""
        current = await self._version(make=True)
        if current is None:
            return False
        while self._again:
            await self.recall(*self._again.pop())
        rows = await self._store.unsaved(current.generation, self._policy.backup_batch)
        if rows:
            await self._put(current, rows)
        self._trouble = ""
        return len(rows) == self._policy.backup_batch

    async def recall(self, room: RoomId, session: str) -> bool:
        """Look for a session in the backup; whether it came. What was not there is not looked for again for an hour.

        A session older than sessions are kept is left where it is. Raises as KeyServer and CryptoStore.
        """
        now = self._clock.now_ms()
        if await self._cross.epoch() == self._epoch and self._was_absent(room, session, now):
            return False
        async with self._gate:
            row = await self._got(room, session, now)
            if row is None:
                self._absent[room, session] = now
                self._absent.move_to_end((room, session))
                if len(self._absent) > _ABSENT:
                    self._absent.popitem(last=False)
                return False
            current = self._current
            rows: list[Any] = [row]
            if current is not None:
                rows.append(InboundSaved(room, session, row.sender_key, row.received_at, current.generation))
            await self._store.commit(rows)
        self._inbounds.stored(row)
        self._counted.inc("recalled")
        return True

    def _was_absent(self, room: RoomId, session: str, now: int) -> bool:
        return now - self._absent.get((room, session), -_ABSENT_MS) < _ABSENT_MS

    async def status(self) -> BackupStatus:
        """How it is with the recovery key in use. Where that is new, the homeserver is asked, for 5 seconds at most.

        Raises as CryptoStore.
        """
        epoch = await self._cross.epoch()
        trouble = ""
        if not self._is_settled(epoch):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._version(make=True)
            except TimeoutError:
                pass  # `run` goes on asking
            except BridgeError as error:
                trouble = str(error)
        current = self._current if self._current is not None and self._current.epoch == epoch else None
        generation = current.generation if current is not None else (await self._known()).generation + 1
        waiting = await self._store.count_unsaved(generation)
        if not self._is_settled(epoch):
            return BackupStatus("", 0, waiting, trouble, settled=False)
        version = current.version if current is not None else ""
        return BackupStatus(version, self._saved if version else 0, waiting, trouble or self._trouble)

    def _is_settled(self, epoch: str) -> bool:
        """Whether it is known which backup the recovery key of an epoch has."""
        return self._epoch == epoch or (self._current is not None and self._current.epoch == epoch)

    async def renew(self) -> str:
        """Begin a new backup, whatever there is, and put all into it; its version. Older ones stay as they are."""
        async with self._lock:
            current = await self._made(await self._seal(), await self._known())
            self._use(current)
        self.wake()
        return current.version

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_IDLE):
                await self._news.wait()
        except TimeoutError:
            return
        # Keys come in groups.
        await self._clock.sleep(self._policy.backup_gather / 1000)

    async def _version(self, *, make: bool) -> _Current | None:
        """The version to use; None where there is none of ours. `make`: where there is none at all, one is made."""
        async with self._lock:
            epoch = await self._cross.epoch()
            if self._current is not None and self._current.epoch == epoch:
                return self._current
            seal, known = await self._seal(), await self._known()
            there = await self._server.backup_version(self._bot)
            self._epoch = epoch
            if there is not None and _is(there, seal.public):
                if (known.version, known.public) != (there.version, seal.public):
                    known = replace(known, version=there.version, public=seal.public, generation=known.generation + 1)
                    await self._note(known)
                    _log.info("key_backup_taken_up", version=there.version, sessions=there.count)
                self._saved = there.count
                current = _Current(there.version, known.generation, seal, epoch)
            elif there is not None and not (there.version == known.version and _is(there, known.public)):
                self._not_ours(there)
                return None
            elif make:
                # None is there, or the one we have made with an earlier recovery key.
                current = await self._made(seal, known)
            else:
                return None
            self._use(current)
            return current

    def _use(self, current: _Current) -> None:
        self._current = current
        self._trouble = ""
        self._again = list(self._absent)[-_LOOKED_AGAIN:]
        self._absent.clear()

    async def _made(self, seal: BackupSeal, known: _Known) -> _Current:
        auth_data = seal.auth_data(await self._cross.identity(self._bot.user))
        version = await self._server.make_backup(self._bot, ALGORITHM, auth_data)
        known = _Known(version, seal.public, known.generation + 1)
        await self._note(known)
        self._saved = 0
        _log.info("key_backup_made", version=version)
        return _Current(version, known.generation, seal, await self._cross.epoch())

    def _not_ours(self, there: BackupVersion) -> None:
        trouble = (
            f"the homeserver has a backup of my keys (version {there.version}) that was not made with my recovery key: "
            "`encryption restore KEY` takes the key it was made with; only where that is lost, `encryption backup "
            "reset` begins another backup"
        )
        if trouble != self._trouble:
            _log.warning("key_backup_not_ours", version=there.version)
        self._current = None
        self._trouble = trouble

    async def _put(self, current: _Current, rows: Sequence[InboundRow]) -> None:
        rooms: dict[RoomId, dict[str, Any]] = {}
        places: dict[tuple[RoomId, str], InboundRow] = {}
        for number, row in enumerate(rows, 1):
            try:
                data = current.seal.sealed(self._inbounds.found(row))
            except DamagedKeyError:
                self._counted.inc("unreadable")
                continue
            sessions = rooms.setdefault(row.room, {})
            if row.session not in sessions or await self._goes_before(
                row, data, places[row.room, row.session], sessions[row.session]
            ):
                sessions[row.session] = data
                places[row.room, row.session] = row
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        if rooms:
            try:
                self._saved = await self._server.put_backup(self._bot, current.version, rooms)
            except MatrixRejectedError:
                self._current = None  # it may be gone, or another is the current one
                raise
            self._counted.inc("saved", by=len(rows))
        self._faults.hit("crypto.backup_sent")
        await self._store.commit(
            [InboundSaved(row.room, row.session, row.sender_key, row.received_at, current.generation) for row in rows]
        )

    async def _goes_before(self, row: InboundRow, data: dict[str, Any], other: InboundRow, its: dict[str, Any]) -> bool:
        """Which of two that say they gave a session has the one place there is.

        Whoever has received it can give it as theirs, so the one that messages were read by goes first.
        """
        used, others = [
            (await self._store.used(one.room, one.session, one.sender_key)).highest >= 0 for one in (row, other)
        ]
        return (not used, *_rank(data)) < (not others, *_rank(its))

    async def _got(self, room: RoomId, session: str, now: int) -> InboundRow | None:
        """A session of the backup that is worth keeping."""
        current = await self._version(make=False)
        if current is None:
            return None
        value = await self._server.backed_up(self._bot, current.version, room, session)
        if value is None:
            self._counted.inc("absent")
            return None
        try:
            row = current.seal.opened(room, session, value, now, self._store.pickle_key)
        except OlmError as error:
            self._counted.inc("refused")
            _log.warning("key_backup_entry_refused", room=room, reason=error.reason)
            return None
        if self._policy.max_age and row.received_at < now - self._policy.max_age:
            self._counted.inc("too_old")
            return None
        return row if await self._inbounds.is_better(row) else None

    async def _seal(self) -> BackupSeal:
        return BackupSeal(await self._cross.backup_secret(), self._bot.user)

    async def _known(self) -> _Known:
        value = await self._store.secret(_NAME)
        return _Known(**orjson.loads(value)) if value is not None else _Known()

    async def _note(self, known: _Known) -> None:
        await self._store.commit([SecretRow(_NAME, orjson.dumps(known))])


def _is(there: BackupVersion, public: str) -> bool:
    return bool(public) and there.algorithm == ALGORITHM and there.auth_data.get("public_key") == public


def _rank(data: dict[str, Any]) -> tuple[bool, int]:
    return (not data["is_verified"], data["first_message_index"])
