"""Megolm sessions that others speak in, shared by all devices of the bridge: whichever got the key first.

Source: client-server API, "m.megolm.v1.aes-sha2". A session is kept under the room, its id and the identity key of the
device that gave it, with the user it is of: so nobody can take the place of another's session by giving its key first,
and an event is only ever read in a session of its own sender. Each index is good for one event (replay).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson
import structlog

from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.crypto.accounts import OurDevice
from bridge_core.crypto.errors import CryptoRejectedError, DamagedKeyError, MissingKeyError, OlmError, Reason
from bridge_core.crypto.held import Held
from bridge_core.crypto.olm import GroupSession, InboundSession
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import CryptoStore, InboundRow, InboundUsed, IndexRow

__all__ = ["Found", "Inbounds", "Read", "inbound_row", "own_row"]

_USED_STEP: Final = 24 * 3600 * 1000
_RECENT: Final = 256

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A session as it is stored. `forwarded`: from somebody else than its own device, who can have made it up."""

    row: InboundRow
    session: InboundSession
    ed25519: str
    forwarded: bool
    shared_by: str = ""
    device: str = ""
    """The device of ours that speaks in it; empty for those of others."""


@dataclass(frozen=True, slots=True)
class Read:
    """What an event says, and of which device it is by its session."""

    plaintext: bytes
    index: int
    sender_key: str
    ed25519: str
    owner: UserId
    by: str
    """The identity key of the device that gave the session: its own, or one that forwarded it."""
    received_at: int
    """When the session came, in ms since 1970."""


class _Candidates:
    """All sessions with one id, with the indexes that were used."""

    __slots__ = ("__weakref__", "floors", "found", "highest", "recent", "used_at")

    def __init__(self, found: list[Found]) -> None:
        self.found = found
        self.highest: dict[str, int] = {}
        self.floors: dict[str, IndexRow | None] = {}
        self.recent: OrderedDict[tuple[str, int], tuple[EventId, int]] = OrderedDict()
        self.used_at: dict[str, int] = {one.row.sender_key: one.row.used_at for one in found}


class Inbounds:
    """Keeps and uses them. `arrived` is told of each session that has come, once that is committed."""

    def __init__(
        self,
        store: CryptoStore,
        clock: Clock,
        policy: Policy,
        arrived: Callable[[RoomId, str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._arrived = arrived
        self._held: Held[tuple[RoomId, str], _Candidates] = Held(policy.loaded_inbound)

    async def read(
        self,
        room: RoomId,
        session: str,
        sender: UserId,
        body: str,
        event: EventId,
        ts: int,
        *,
        any_sender: bool,
        claimed: object = None,
    ) -> Read:
        """What the event of `sender` says. The index is used up by it, soon after in the store.

        `any_sender`: where there is no session of this sender's, one of another user's will do. `claimed` is the
        identity key that the event names as its sender's, which is believed against it only.

        Raises MissingKeyError (it may come), CryptoRejectedError (never).
        """
        known = await self._get(room, session)
        own = [one for one in known.found if one.row.sender == sender]
        if not own and any_sender:
            own = list(known.found)
        if not own:
            # Whoever has received a session can give it as theirs: that says nothing of who made it. The event may.
            if any(one.row.sender_key == claimed for one in known.found):
                raise CryptoRejectedError(Reason.SENDER, "the session is of another user")
            raise MissingKeyError(room, session, sender, await self._withheld(room, session, sender))
        # A session from its own device goes before one that was forwarded.
        own.sort(key=lambda one: (one.forwarded, one.session.first))
        failed = OlmError(Reason.UNKNOWN_SESSION, "")
        for one in own:
            try:
                plaintext, index = one.session.decrypt(body)
            except OlmError as error:
                failed = error
                continue
            await self._use(known, one, index, event, ts)
            row = one.row
            by = one.shared_by or row.sender_key
            return Read(plaintext, index, row.sender_key, one.ed25519, row.sender, by, row.received_at)
        if failed.reason is Reason.UNKNOWN_INDEX:
            # The key begins later: an earlier one may come, by request.
            raise MissingKeyError(room, session, sender, await self._withheld(room, session, sender))
        raise CryptoRejectedError(failed.reason, "the message does not decrypt")

    async def find(self, room: RoomId, session: str) -> list[Found]:
        """All sessions with this id."""
        return list((await self._get(room, session)).found)

    async def is_better(self, row: InboundRow) -> bool:
        """Whether a session is worth storing: not known of this device, or known from later on only, or forwarded."""
        new = self.found(row)
        for one in await self.find(row.room, row.session):
            if one.row.sender_key != row.sender_key:
                continue
            if one.row.sender != row.sender:
                # Only who gives it by its own device has shown that the identity key is theirs.
                return one.forwarded and not new.forwarded
            if one.forwarded and not new.forwarded:
                return True
            if new.forwarded and not one.forwarded:
                return new.session.first < one.session.first and _continues(new.session, one.session)
            return new.session.first < one.session.first
        return True

    def stored(self, row: InboundRow) -> None:
        """The row was committed."""
        known = self._held.peek((row.room, row.session))
        if known is not None:
            new = self.found(row)
            known.found = [one for one in known.found if one.row.sender_key != row.sender_key] + [new]
        self._arrived(row.room, row.session)

    async def _get(self, room: RoomId, session: str) -> _Candidates:
        return await self._held.get((room, session), lambda: self._load(room, session))

    async def _load(self, room: RoomId, session: str) -> _Candidates:
        found: list[Found] = []
        for row in await self._store.inbound(room, session):
            try:
                found.append(self.found(row))
            except DamagedKeyError:
                # As if it had never come: it is asked for, and what comes takes its place.
                _log.error("inbound_session_damaged", room=room, session=session, sender=row.sender)
        return _Candidates(found)

    def found(self, row: InboundRow) -> Found:
        """A stored session. Raises DamagedKeyError."""
        try:
            value = orjson.loads(row.value)
            session = InboundSession.unpickled(value["pickle"].encode(), self._store.pickle_key)
            return Found(row, session, value["ed25519"], value["forwarded"], value["by"], value["device"])
        except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError) as error:
            raise DamagedKeyError("a stored session cannot be read") from error

    async def _use(self, known: _Candidates, one: Found, index: int, event: EventId, ts: int) -> None:
        row = one.row
        place = (row.sender_key, index)
        if row.sender_key not in known.highest:
            used = await self._store.used(row.room, row.session, row.sender_key)
            known.highest[row.sender_key] = max(used.highest, known.highest.get(row.sender_key, -1))
            known.floors[row.sender_key] = used.floor
        floor = known.floors[row.sender_key]
        if floor is not None and index <= floor.index:
            # The session was swept and has come again: any event may have used this index, but for the one noted.
            if (index, event, ts) != (floor.index, floor.event, floor.ts):
                raise CryptoRejectedError(Reason.REPLAY, "the message's index was used before")
            return
        if index <= known.highest[row.sender_key] and place not in known.recent:
            noted = await self._store.index(row.room, row.session, row.sender_key, index)
            if noted is not None and place not in known.recent:
                known.recent[place] = (noted.event, noted.ts)
        # From here on nothing waits: two events with one index cannot both pass.
        before = known.recent.get(place)
        if before is not None:
            if before != (event, ts):
                raise CryptoRejectedError(Reason.REPLAY, "the message's index was used by another event")
            return
        known.recent[place] = (event, ts)
        if len(known.recent) > _RECENT:
            known.recent.popitem(last=False)
        known.highest[row.sender_key] = max(index, known.highest[row.sender_key])
        self._store.later([IndexRow(row.room, row.session, row.sender_key, index, event, ts)])
        now = self._clock.now_ms()
        if now - known.used_at.get(row.sender_key, 0) > _USED_STEP:
            known.used_at[row.sender_key] = now
            self._store.later([InboundUsed(row.room, row.session, row.sender_key, now)])

    async def _withheld(self, room: RoomId, session: str, sender: UserId) -> str:
        notes = [one for one in await self._store.withheld(room, session) if one.sender == sender]
        return notes[-1].code if notes else ""


def inbound_row(
    room: RoomId,
    session: InboundSession,
    sender: UserId,
    sender_key: str,
    ed25519: str,
    now: int,
    pickle_key: bytes,
    *,
    forwarded: bool,
    by: str = "",
    device: str = "",
) -> InboundRow:
    """The row of a session; `by` is the identity key of who forwarded it, `device` the one of ours it is of."""
    value = {
        "pickle": session.pickle(pickle_key).decode(),
        "ed25519": ed25519,
        "forwarded": forwarded,
        "by": by,
        "device": device,
    }
    return InboundRow(room, session.id, sender_key, sender, orjson.dumps(value), now, now)


def own_row(room: RoomId, group: GroupSession, ours: OurDevice, now: int, pickle_key: bytes) -> InboundRow:
    """A session of one of our own devices: what lets the bridge read what it said, and answer requests for the key."""
    session = InboundSession.of_key(group.key)
    owner, account = ours.owner, ours.account
    return inbound_row(
        room,
        session,
        owner.user,
        account.curve25519,
        account.ed25519,
        now,
        pickle_key,
        forwarded=False,
        device=owner.device,
    )


def _continues(earlier: InboundSession, later: InboundSession) -> bool:
    """Whether two copies of a session are of the same ratchet: the earlier one, moved on, is the later."""
    return earlier.export(later.first) == later.export(later.first)
