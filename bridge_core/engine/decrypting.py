"""Encrypted events in their lanes: opened before anything else looks at them, or kept until their key comes.

What waits in front of its lane holds back what was said later, for a bounded time. After that it is kept aside: it
stays in the journal, the lane goes on, and when the key comes it is handled once more, as late. So an entry that is
kept is never lost, and needs no table of its own: after a start it is found in the journal again.
"""

import asyncio
from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Protocol

import structlog

from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.aside import REDACTION, Kept, KeptRoom, KeptSession, about, gives_way
from bridge_core.engine.lanes import Lanes
from bridge_core.engine.ports import Entry, Journal, Write
from bridge_core.observe.metrics import Counter
from bridge_core.observe.tasks import TaskOwner

__all__ = [
    "ENCRYPTED",
    "LOOK",
    "UNREADABLE",
    "Cipher",
    "ClearEvent",
    "Decrypting",
    "DecryptingSettings",
    "KeyIntake",
    "KeysBrought",
    "MissingKeyError",
    "Opened",
]

log = structlog.get_logger(__name__)

ENCRYPTED: Final = "m.room.encrypted"
UNREADABLE: Final = "dev.matrix_bridge.unreadable"
"""Key of an encrypted event, set by us only: why it cannot be read, in words for its sender."""
OFF: Final = "this room is encrypted, and the bridge cannot read encrypted messages"
_NOT_HERE: Final = "it is encrypted, and its key has not arrived. It is delivered when the key comes"
_UNLISTED: Final = "it is of a device that the sender's homeserver does not list (yet)"
_NEVER: Final = "it is encrypted, and its key never arrived"
_EARLY: Final = "send it again: no device of mine could read it when it was sent"
_TOO_MANY: Final = "it is encrypted, and too many messages wait for their keys already"
_WITHHELD: Final[Mapping[str, str]] = {
    "m.blacklisted": "your device is set not to give its keys to the bridge",
    "m.unverified": "your device gives its keys to verified devices only, and the bridge's is not verified",
    "m.unauthorised": "your device says that the bridge is not to read it",
    "m.unavailable": "your device does not have the key any more",
    "m.no_olm": "your device could not reach the bridge's device",
}
"""What the codes of m.room_key.withheld mean for whoever sent the message (client-server API, "Withholding keys")."""
_GRACE: Final = 5.0
"""Seconds that keys which are stored and not opened yet may take."""
LOOK: Final = 60.0
_ASKED: Final = 100
"""Messages that wait in one room while keys are still asked for: who makes up sessions makes no more requests."""
_LONGEST: Final = 600.0


class MissingKeyError(TransientError):
    """The session's key is not here (yet). `withheld` is the code of whoever will not give it, else empty.

    `listed` is False where the key is here, and the sender's homeserver does not list the device it is of (yet).
    """

    def __init__(self, room: RoomId, session: str, sender: UserId, withheld: str = "", *, listed: bool = True) -> None:
        super().__init__("the key of this message has not arrived" if listed else _UNLISTED)
        self.listed = listed
        self.room = room
        self.session = session
        self.sender = sender
        self.withheld = withheld


class Clear(Protocol):
    """An event in the clear."""

    @property
    def event(self) -> dict[str, Any]: ...
    @property
    def sure(self) -> bool:
        """Whether it is of a device whose owner's identity an admin has confirmed."""


class Cipher(Protocol):
    """Decrypts: `crypto.machine.CryptoMachine`."""

    async def decrypt(self, event: Mapping[str, Any]) -> Clear:
        """The event in the clear. Raises MissingKeyError, RejectedError in words, TransientError."""

    async def ask_for(self, missing: MissingKeyError, event: Mapping[str, Any]) -> bool:
        """Look for a key in the backup, else ask the sender's devices, once per session. Raises BridgeError."""

    async def recall(self, missing: MissingKeyError) -> bool:
        """Look for a key in the backup; whether it came."""

    async def handled(self) -> None:
        """Return when all keys that were stored are opened."""


class KeysBrought(Protocol):
    """What of a transaction is to be committed with it."""

    @property
    def writes(self) -> tuple[Write, ...]: ...


class KeyIntake(Protocol):
    """Takes what a transaction says of keys: `crypto.machine.CryptoMachine`. Nothing here blocks."""

    def received(
        self,
        to_device: list[dict[str, Any]],
        device_lists: Mapping[str, Any],
        key_counts: Mapping[str, Any],
        fallback_types: Mapping[str, Any],
    ) -> Any:
        """What came, as `KeysBrought`."""

    def committed(self, taken: Any) -> None:
        """What `received` gave is committed."""


@dataclass(frozen=True, slots=True)
class DecryptingSettings:
    """Times are seconds.

    `wait`: how long what is said later in a room waits for a key, from when its message came; `lifetime`: when a
    message whose key never came is given up. `most`: how many are kept, of all rooms, of one room and of one sender.
    """

    wait: float = 10.0
    lifetime: float = 7 * 86_400.0
    most: int = 10_000
    most_in_room: int = 1_000
    most_of_sender: int = 500


class Opened(Enum):
    """What became of an entry."""

    READY = 0
    """It can be handled: it is in the clear, or says why it cannot be."""
    LATE = 1
    """The same, after others that were said later."""
    KEPT = 2
    """It stays in the journal until its key comes."""
    NOT_YET = 3
    """It has to wait, and is not the first: those before it go first."""


class ClearEvent(dict[str, Any]):
    """An event that came encrypted: a type, since whatever stands in an event anybody may have written.

    `sure`: its device is signed by an identity that an admin has confirmed, and it is not late.
    """

    sure = False


class Decrypting:
    """Opens entries of the lanes towards networks. Without `use` nothing can be read, which senders are told.

    `tell` says to the sender of an event, once per key, why it waits. `lanes` gives the lanes, which are built later.
    """

    def __init__(
        self,
        journal: Journal,
        tell: Callable[[Mapping[str, Any], str], Awaitable[None]],
        lanes: Callable[[], Lanes],
        clock: Clock,
        tasks: TaskOwner,
        counted: Counter,
    ) -> None:
        self._journal = journal
        self._tell = tell
        self._lanes = lanes
        self._clock = clock
        self._tasks = tasks
        self._counted = counted
        self.missed: Callable[[], None] = lambda: None
        """Told that a key is missing: it may lie somewhere. Must not block."""
        self.unread: Callable[[RoomId], None] = lambda _: None
        """Told of a room with something encrypted, where nothing can be decrypted. Must not block."""
        self.early: Callable[[Mapping[str, Any]], Awaitable[float | None]] = _never
        """Seconds until it is certain that an event was sent before anybody of ours could be given its key, or None."""
        self._cipher: Cipher | None = None
        self._settings = DecryptingSettings()
        self._rooms: dict[RoomId, KeptRoom] = {}
        self._late: set[int] = set()
        """Kept before, and to be handled now."""
        self._ousted: set[int] = set()
        """Of those: they have given their place to others."""
        self._count = 0
        self._of: Counts[UserId] = Counts()
        """How many are kept of each sender."""
        self._stopping = False

    def use(self, cipher: Cipher, settings: DecryptingSettings) -> None:
        """Decrypt from now on. Before the lanes start."""
        self._cipher = cipher
        self._settings = settings

    def __len__(self) -> int:
        """How many are kept."""
        return self._count

    def arrived(self, room: RoomId, session: str) -> None:
        """A key has come. Does not block."""
        found = self._session(room, session)
        if found is not None:
            found.came.set()
            self._again(room, self._rooms[room], session)

    def withheld(self, room: RoomId, session: str, sender: UserId) -> None:
        """A key will not come, as `sender` says: a message of theirs in front of its lane waits no longer.

        What is kept stays so, since nothing changes for it, whoever says so. Does not block.
        """
        found = self._session(room, session)
        if found is not None and sender in found.waiting:
            found.came.set()

    async def give_up(self) -> None:
        """Give up what has waited too long; to be done each `LOOK` seconds."""
        oldest = self._clock.now_ms() - int(self._settings.lifetime * 1000)
        for room, there in list(self._rooms.items()):
            for name, session in list(there.sessions.items()):
                if session.kept and session.oldest < oldest:
                    self._again(room, there, name)

    def stop(self) -> None:
        """Nothing waits any longer; what is kept is found again at the next start."""
        self._stopping = True
        for there in self._rooms.values():
            for session in there.sessions.values():
                session.came.set()

    async def clear(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """An event that the homeserver was asked for, in the clear where it was encrypted.

        Its key may be in the backup. Raises as `Cipher.decrypt`; nothing else is waited for.
        """
        if event.get("type") != ENCRYPTED:
            return event
        if self._cipher is None:
            raise RejectedError(OFF)
        try:
            return (await self._cipher.decrypt(event)).event
        except MissingKeyError as missing:
            if not await self._cipher.recall(missing):
                raise
        return (await self._cipher.decrypt(event)).event

    async def open(self, entry: Entry, *, first: bool) -> Opened:
        """Put the event of an entry into it in the clear. `first`: it is the first of its lane, and may wait.

        Raises TransientError where the homeserver or the database has to be asked, and cannot be.
        """
        event: Mapping[str, Any] = entry.event
        self._take_back(entry, event)
        if event["type"] != ENCRYPTED:
            behind = self._behind(entry, event)
            if behind is not None:
                return await self._keep(entry, event, behind, "")
            return self._ended(entry) if entry.id in self._late else Opened.READY
        if self._cipher is None:
            self.unread(RoomId(event["room_id"]))
            entry.event = {**event, UNREADABLE: OFF}
            return Opened.READY
        try:
            return await self._opened(entry, self._cipher, event)
        except MissingKeyError as error:
            missing = error
        except Exception:
            # Whatever it is: only of the first entry of its lane can it be said whose it is.
            if not first:
                return Opened.NOT_YET
            raise
        return await self._waited(entry, self._cipher, event, missing) if first else Opened.NOT_YET

    async def _opened(self, entry: Entry, cipher: Cipher, event: Mapping[str, Any]) -> Opened:
        """Raises MissingKeyError, TransientError."""
        try:
            found = await cipher.decrypt(event)
        except RejectedError as error:
            return self._refused(entry, event, str(error))
        behind = self._behind(entry, found.event)
        if behind is not None:
            return await self._keep(entry, event, behind, "")
        entry.event = clear = ClearEvent(found.event)
        opened = self._ended(entry)
        # Who holds a key back does not choose when somebody's word is done.
        clear.sure = found.sure and opened is Opened.READY
        return opened

    def _refused(self, entry: Entry, event: Mapping[str, Any], reason: str) -> Opened:
        entry.event = {**event, UNREADABLE: reason}
        return self._ended(entry)

    def _ended(self, entry: Entry) -> Opened:
        """It is handled now: whether it is late."""
        if entry.id in self._late:
            self._late.discard(entry.id)
            self._ousted.discard(entry.id)
            return Opened.LATE
        # Of an earlier process: it was put off before it had any deliveries, which is what is done with what is kept.
        kept = entry.attempts > 0 and not entry.routed and self._left(entry) <= 0
        return Opened.LATE if kept else Opened.READY

    def _left(self, entry: Entry) -> float:
        """Seconds that an entry may still hold its lane back."""
        return self._settings.wait - (self._clock.now_ms() - entry.received_at) / 1000

    def _behind(self, entry: Entry, event: Mapping[str, Any]) -> str | None:
        """The session that an event waits for since what it is about waits: an edit, a reaction, a redaction.

        A redaction's mark holds until it is handled, so what it takes back is not sent when the key comes. An edit
        also waits for its sender's earlier edits of the same, so that the last one is what stays.
        """
        if not self._count:
            return None
        there = self._rooms.get(RoomId(event["room_id"]))
        target = about(event)
        if there is None or target is None:
            return None
        return there.events.get(target) or there.edited(entry.id, UserId(event["sender"]), target)

    async def _waited(self, entry: Entry, cipher: Cipher, event: Mapping[str, Any], missing: MissingKeyError) -> Opened:
        room = self._rooms.setdefault(missing.room, KeptRoom())
        session = room.sessions.setdefault(missing.session, KeptSession())
        session.waiting.append(missing.sender)
        try:
            # The key may be stored already, and not opened.
            await _within(max(_GRACE, self._left(entry)), cipher.handled())
            asked = len(room.events) >= _ASKED
            while True:
                session.came.clear()
                try:
                    return await self._opened(entry, cipher, event)
                except MissingKeyError as error:
                    missing = error
                if self._stopping:
                    raise TransientError("the bridge stops")
                self.missed()
                if not asked:
                    asked = True
                    self._tasks.start(self._ask(cipher, missing, event), "key-request")
                left = self._left(entry)
                early = await self.early(event) if missing.listed and not missing.withheld else None
                left = left if early is None else min(left, early)
                if missing.withheld or left <= 0 or entry.id in self._late:
                    return await self._keep(entry, event, missing.session, _EARLY if early == 0 else _why(missing))
                await _within(left, session.came.wait())
        finally:
            session.waiting.remove(missing.sender)
            self._tidy(missing.room, missing.session)

    async def _ask(self, cipher: Cipher, missing: MissingKeyError, event: Mapping[str, Any]) -> None:
        try:
            await cipher.ask_for(missing, event)
        except BridgeError as error:
            log.info("key_not_asked_for", room=missing.room, error=str(error))

    async def _keep(self, entry: Entry, event: Mapping[str, Any], session: str, why: str) -> Opened:
        """Take an entry out of its lane until a key comes, where it may wait so long."""
        settings, name = self._settings, RoomId(event["room_id"])
        if (self._clock.now_ms() - entry.received_at) / 1000 > settings.lifetime:
            self._counted.inc("given_up")
            return self._refused(entry, event, _NEVER)
        sender = UserId(event["sender"])
        stays = event["type"] == REDACTION  # else what it takes back would be sent
        if entry.id in self._ousted or not (stays or self._has_place(name, sender)):
            self._ousted.discard(entry.id)
            self._counted.inc("too_many")
            return self._refused(entry, event, _TOO_MANY)
        again, known = entry.id in self._late, self._session(name, session)
        if why and not again and not (known is not None and known.kept):
            await self._tell(event, why)
        if not entry.attempts:
            await self._journal.postpone(replace(entry, attempts=1), "its key has not arrived", self._clock.now_ms())
            entry.attempts = 1
        # From here on nothing waits: what it is to wait for may have come meanwhile, and looks for nothing any more.
        room = self._rooms.setdefault(name, KeptRoom())
        found = room.sessions.setdefault(session, KeptSession())
        over = found.came.is_set() if why else not found.kept
        self._late.discard(entry.id)
        if not found.kept:
            found.oldest = entry.received_at
        edits = about(event) if why in ("", _NOT_HERE) and not stays else None
        found.kept[entry.id] = Kept(EventId(event["event_id"]), sender, stays, edits)
        room.events[EventId(event["event_id"])] = session
        self._count += 1
        self._of[sender] += 1
        if not again:
            self._counted.inc("kept")
            log.info("event_waits_for_key", room=name, entry=entry.id, waiting=self._count)
        if over:
            self._let_go(name, room, session, {entry.id: found.kept.pop(entry.id)})
        return Opened.KEPT

    def _take_back(self, entry: Entry, event: Mapping[str, Any]) -> None:
        """What is kept, and is in its lane still since something before it failed, is kept anew: it counts once."""
        room = self._rooms.get(RoomId(event["room_id"])) if self._count else None
        session = room.events.get(EventId(event["event_id"])) if room is not None else None
        if room is not None and session is not None and entry.id in (kept := room.sessions[session].kept):
            self._take_out(RoomId(event["room_id"]), room, session, {entry.id: kept.pop(entry.id)})

    def _again(self, name: RoomId, room: KeptRoom, session: str) -> None:
        found = room.sessions[session]
        kept, found.kept = found.kept, {}
        if kept:
            self._let_go(name, room, session, kept)

    def _let_go(self, name: RoomId, room: KeptRoom, session: str, kept: Mapping[int, Kept]) -> None:
        """They go into their lane once more."""
        self._take_out(name, room, session, kept)
        self._lanes().replayed(name, sorted(kept))

    def _take_out(self, name: RoomId, room: KeptRoom, session: str, kept: Mapping[int, Kept]) -> None:
        for one in kept.values():
            room.events.pop(one.event, None)
            self._of[one.sender] -= 1
            if self._of[one.sender] <= 0:
                del self._of[one.sender]
        self._count -= len(kept)
        self._late.update(kept)
        self._tidy(name, session)

    def _has_place(self, name: RoomId, sender: UserId) -> bool:
        """Whether one more of a sender may be kept; who has most gives a place to who has less."""
        settings, room = self._settings, self._rooms.get(name)
        if self._of[sender] >= settings.most_of_sender:
            return False
        if room and len(room.events) >= settings.most_in_room and not self._ousted_of({name: room}, sender):
            return False
        return self._count < settings.most or self._ousted_of(self._rooms, sender)

    def _ousted_of(self, rooms: Mapping[RoomId, KeptRoom], sender: UserId) -> bool:
        found = gives_way(rooms, sender)
        if found is None:
            return False
        name, session, entry = found
        self._ousted.add(entry)
        room = self._rooms[name]
        self._let_go(name, room, session, {entry: room.sessions[session].kept.pop(entry)})
        return True

    def _session(self, name: RoomId, session: str) -> KeptSession | None:
        room = self._rooms.get(name)
        return room.sessions.get(session) if room is not None else None

    def _tidy(self, name: RoomId, session: str) -> None:
        found = self._session(name, session)
        if found is not None and not found.waiting and not found.kept:
            room = self._rooms[name]
            del room.sessions[session]
            if not room.sessions and not room.events:
                del self._rooms[name]


async def _never(event: Mapping[str, Any]) -> float | None:
    return None


async def _within(seconds: float, waiting: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(min(seconds, _LONGEST)):
            await waiting
    except TimeoutError:
        return


def _why(missing: MissingKeyError) -> str:
    if not missing.listed:
        return f"{_UNLISTED}. It is delivered when it is listed"
    if not missing.withheld:
        return _NOT_HERE
    reason = _WITHHELD.get(missing.withheld, "your device does not give its key to the bridge")
    return f"it is encrypted, and {reason}"
