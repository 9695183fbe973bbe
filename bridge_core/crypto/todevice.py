"""To-device messages: stored with the transaction that brought them, then decrypted, in order for each device.

What a message has moved (a ratchet, a used one-time key) and what it has brought is one commit, with the message's
end. So after a crash it is either not handled yet, with everything as it was, or handled for good.
"""

import asyncio
from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import structlog

from bridge_core.api.errors import BackpressureError, BridgeError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.accounts import Accounts, OurDevice
from bridge_core.crypto.errors import OlmError, Reason
from bridge_core.crypto.inbound import Inbounds, inbound_row
from bridge_core.crypto.messages import (
    Envelope,
    Inner,
    RoomKey,
    envelope,
    inner,
    key_request,
    olm_body,
    packed,
    room_key,
    text,
    withheld,
)
from bridge_core.crypto.olm import PRE_KEY
from bridge_core.crypto.pairwise import Pairwise
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import CryptoStore, InboundRow, Owner, Row, ToDeviceDone, ToDeviceRow, WithheldRow
from bridge_core.crypto.requests import KeyRequests
from bridge_core.crypto.seldom import Seldom
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.hourly import Counted, Hourly
from bridge_core.observe.metrics import Counter

__all__ = ["Inbox"]

_PAGE: Final = 256
_AT_ONCE: Final = 8
_RETRY: Final = 5.0
_MOST_PER_HOUR: Final = 5000
"""Messages in new sessions, and keys, that are taken of one user: in a room of 1,000 ghosts they first send 1,000."""
_OF_STRANGERS: Final = 2000
"""Olm messages of one user in an hour after which it must be somebody who is tracked."""
_YIELD: Final = 20
"""Messages decrypted before the loop gets its turn: about 10 ms."""
_TYPES: Final = frozenset({"m.room.encrypted", "m.room_key_request", "m.room_key.withheld"})
_MENDABLE: Final = frozenset({Reason.UNKNOWN_SESSION, Reason.BAD_MESSAGE})

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Brought:
    """What messages of one device have brought so far. `moved`: a one-time key of its account was used.

    Where the commit fails the messages are tried again, and count once: `counted` is taken back, and `tally` (what
    became of them) is added up behind it.
    """

    keys: dict[tuple[str, str, str], tuple[InboundRow, int]] = field(default_factory=dict)
    wedged: set[tuple[UserId, str]] = field(default_factory=set)
    moved: bool = False
    counted: list[Counted] = field(default_factory=list)
    tally: Counts[str] = field(default_factory=Counts)


class Inbox:
    """Takes to-device messages and handles them. `wedged` is told of devices with which a new session is needed.

    `reachable` is told of users with a device that had no keys left and has written now, `withheld` of who will not
    give a key. None of them may block. `tracks` says whether a user is in an encrypted room with us, or was.
    """

    def __init__(
        self,
        store: CryptoStore,
        accounts: Accounts,
        pairwise: Pairwise,
        inbounds: Inbounds,
        requests: KeyRequests,
        is_ours: Callable[[str], bool],
        tracks: Callable[[UserId], Awaitable[bool]],
        wedged: Callable[[Owner, UserId, str], None],
        reachable: Callable[[UserId], None],
        withheld: Callable[[RoomId, str, UserId], None],
        clock: Clock,
        policy: Policy,
        counted: Counter,
        faults: FaultPoints,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._pairwise = pairwise
        self._inbounds = inbounds
        self._requests = requests
        self._is_ours = is_ours
        self._tracks = tracks
        self._wedged = wedged
        self._reachable = reachable
        self._withheld = withheld
        self._clock = clock
        self._policy = policy
        self._counted = counted
        self._faults = faults
        self._seldom = Seldom(clock)
        self._hourly = Hourly(clock)
        self._last = 0
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Find out where the ids go on, and that there may be something to do."""
        self._last = await self._store.last_to_device()
        self.wake()

    def rows(self, entries: Iterable[Mapping[str, Any]]) -> list[Row]:
        """The rows of a transaction's to-device messages, to be committed with it. Does not block.

        Those that mean nothing to us are counted and left out; so is what is too large or not for a device of ours.
        """
        rows: list[Row] = []
        now = self._clock.now_ms()
        for entry in entries:
            try:
                value = self._taken(entry)
            except OlmError as error:
                self._counted.inc(error.reason)
                continue
            if value is not None:
                self._last += 1
                rows.append(ToDeviceRow(self._last, blake2b(value, digest_size=16).digest(), value, now))
        return rows

    def wake(self) -> None:
        """There is something in the store."""
        self._idle.clear()
        self._work.set()

    async def idle(self) -> None:
        """Return when all that was stored is handled."""
        await self._idle.wait()

    async def turn(self) -> None:
        """Wait for messages and handle them; to be done again and again, whatever it raises.

        A database that cannot be used now is waited for.
        """
        await self._work.wait()
        self._work.clear()
        try:
            await self.drain()
        except BridgeError as error:
            _log.warning("to_device_waits", error=str(error), seconds=_RETRY)
            await self._clock.sleep(_RETRY)
            self._work.set()
        except BaseException:
            self._work.set()
            raise
        if not self._work.is_set():
            self._idle.set()

    async def drain(self) -> None:
        """Handle what is stored, page by page. Raises TransientError."""
        after = 0
        failed: BaseException | None = None
        while page := await self._store.to_device(after, _PAGE):
            after = page[-1].id
            groups: dict[Owner, list[tuple[int, Envelope]]] = {}
            for row in page:
                if row.value:
                    outer = envelope(row.value)
                    groups.setdefault(outer.to, []).append((row.id, outer))
            if damaged := [row.id for row in page if not row.value]:
                _log.error("to_device_unreadable", messages=len(damaged))
                await self._store.commit([ToDeviceDone(number) for number in damaged])
                self._counted.inc("failed", by=len(damaged))
            gate = asyncio.Semaphore(_AT_ONCE)
            # One device's trouble must not stop the others: it is raised when all are through.
            results = await asyncio.gather(
                *(self._guarded(gate, owner, group) for owner, group in groups.items()), return_exceptions=True
            )
            failed = failed or next((one for one in results if isinstance(one, BaseException)), None)
        if failed is not None:
            raise failed

    async def _guarded(self, gate: asyncio.Semaphore, owner: Owner, group: Sequence[tuple[int, Envelope]]) -> None:
        async with gate:
            try:
                await self._handle(owner, group)
            except (TransientError, BackpressureError):
                raise
            except Exception:
                if len(group) == 1:
                    _log.exception("to_device_failed", user=owner.user)
                    await self._store.commit([ToDeviceDone(group[0][0])])
                    self._counted.inc("failed")
                    return
                # A bug, a row that the database refuses, a key that cannot be read: it is so at each try, and what one
                # message has found must not cost the others.
                for one in group:
                    await self._guarded(asyncio.Semaphore(), owner, [one])

    def _taken(self, entry: Mapping[str, Any]) -> bytes | None:
        to = entry.get("to_user_id")
        if not isinstance(to, str) or not self._is_ours(to):
            raise OlmError(Reason.KEYS, "not for a user of ours")
        kind = text(entry, "type")
        if kind not in _TYPES:
            # Verification by emoji, secrets, keys in the clear: nothing of it is for a bridge.
            self._counted.inc("ignored")
            return None
        if not self._accounts.has(Owner(UserId(to), text(entry, "to_device_id"))):
            # It is noted before its keys are uploaded: nobody can have meant it.
            self._counted.inc("no_account")
            return None
        return packed(entry)

    async def _handle(self, owner: Owner, group: Sequence[tuple[int, Envelope]]) -> None:
        ours = await self._accounts.known(owner)
        if ours is None:
            await self._store.commit([ToDeviceDone(number) for number, _ in group])
            self._counted.inc("no_account", by=len(group))
            return
        brought = _Brought()
        try:
            rows = await self._stored(ours, group, brought)
        except BaseException:
            self._hourly.take_back(brought.counted)
            raise
        for what, number in brought.tally.items():
            self._counted.inc(what, by=number)
        self._faults.hit("crypto.to_device_committed")
        for given, _ in brought.keys.values():
            self._inbounds.stored(given)
            self._requests.arrived(given.room, given.session)
        for row in rows:
            if isinstance(row, WithheldRow):
                self._withheld(row.room, row.session, row.sender)
        for sender, key in brought.wedged:
            self._wedged(owner, sender, key)
        for _, outer in group:
            if outer.type == "m.room_key_request":
                self._asked(outer)

    async def _stored(self, ours: OurDevice, group: Sequence[tuple[int, Envelope]], brought: _Brought) -> list[Row]:
        """Commit the messages' ends with all that they have moved and brought; the rows, but for those of keys."""
        rows: list[Row] = []
        async with self._accounts.using(ours):
            for place, (number, outer) in enumerate(group, 1):
                rows.append(ToDeviceDone(number))
                if outer.type == "m.room.encrypted":
                    rows += await self._opened(ours, outer, brought)
                elif outer.type == "m.room_key.withheld":
                    rows += self._noted(outer, brought)
                if place % _YIELD == 0:
                    await asyncio.sleep(0)
            if brought.moved:
                rows.append(self._accounts.row(ours))
            self._faults.hit("crypto.to_device_opened")
            await self._store.commit([*rows, *(row for row, _ in brought.keys.values())])
        return rows

    async def _opened(self, ours: OurDevice, outer: Envelope, brought: _Brought) -> list[Row]:
        """The rows of one Olm message, but for the account's; the keys that it brings are put into `brought`."""
        try:
            sender_key, kind, body = olm_body(outer.content, ours.account.curve25519)
            if kind == PRE_KEY and self._is_flooding(brought, "session", outer.sender):
                raise OlmError(Reason.TRUST, "more sessions in an hour than anybody needs")
            if self._is_flooding(brought, "olm", outer.sender) and not await self._tracks(outer.sender):
                raise OlmError(Reason.TRUST, "more messages in an hour than a stranger needs")
        except OlmError as error:
            brought.tally[error.reason] += 1
            return []
        try:
            opened = await self._pairwise.opened(ours, sender_key, kind, body)
        except OlmError as error:
            self._rejected(error, outer, brought)
            if error.reason in _MENDABLE:
                brought.wedged.add((outer.sender, sender_key))
            return []
        brought.moved |= opened.moved
        if opened.reachable:
            self._reachable(outer.sender)  # whoever writes to it now waits for the account, and so for our commit
        rows = list(opened.rows)
        try:
            found = inner(opened.plaintext, outer, sender_key, ours.account.ed25519)
            await self._meaning(found, brought)
        except OlmError as error:
            # The ratchet has moved all the same.
            self._rejected(error, outer, brought)
        return rows

    def _rejected(self, error: OlmError, outer: Envelope, brought: _Brought) -> None:
        brought.tally[error.reason] += 1
        if self._seldom.is_due("to_device_rejected"):
            _log.info("to_device_rejected", reason=error.reason, sender=outer.sender, user=outer.to.user)

    async def _meaning(self, found: Inner, brought: _Brought) -> None:
        if found.type not in {"m.room_key", "m.forwarded_room_key"}:
            brought.tally["dummy" if found.type == "m.dummy" else "ignored"] += 1
            return
        given = room_key(found)
        if given.forwarded and not await self._requests.is_welcome(found, given):
            raise OlmError(Reason.TRUST, "a forwarded key that was not asked for, or of a device that is not trusted")
        if self._is_flooding(brought, "key", found.sender):
            raise OlmError(Reason.TRUST, "more keys in an hour than anybody needs")
        row = self._row(found, given)
        place = (row.room, row.session, row.sender_key)
        other = brought.keys.get(place)
        if (other is None or given.session.first < other[1]) and await self._inbounds.is_better(row):
            brought.keys[place] = (row, given.session.first)
            brought.tally["forwarded_key" if given.forwarded else "room_key"] += 1
        else:
            brought.tally["known_key"] += 1

    def _row(self, found: Inner, given: RoomKey) -> InboundRow:
        return inbound_row(
            given.room,
            given.session,
            found.sender,
            given.sender_key,
            given.ed25519,
            self._clock.now_ms(),
            self._store.pickle_key,
            forwarded=given.forwarded,
            by=found.sender_key if given.forwarded else "",
        )

    def _noted(self, outer: Envelope, brought: _Brought) -> list[Row]:
        try:
            note = withheld(outer.content)
        except OlmError as error:
            brought.tally[error.reason] += 1
            return []
        brought.tally["withheld"] += 1
        if not note.room:
            # They have found no key of ours: a session from our side lets them answer.
            brought.wedged.add((outer.sender, note.session))
            return []
        if self._is_flooding(brought, "key", outer.sender):
            return []
        return [WithheldRow(note.room, note.session, outer.sender, note.code, self._clock.now_ms())]

    def _asked(self, outer: Envelope) -> None:
        try:
            request = key_request(outer.content)
        except OlmError as error:
            self._counted.inc(error.reason)
            return
        if request is not None:
            self._counted.inc("request")
            self._requests.asked(outer.sender, request)

    def _is_flooding(self, brought: _Brought, what: str, sender: UserId) -> bool:
        counted = self._hourly.count(what, sender)
        brought.counted.append(counted)
        return counted.number > (_OF_STRANGERS if what == "olm" else _MOST_PER_HOUR)
