"""Keys at rest: implements `CryptoStore` on the database. Every `value` is sealed for the row it is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Executable, func, or_, select

from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.crypto.ports import (
    AccountRow,
    InboundRow,
    IndexRow,
    OlmSessionRow,
    OutboundRow,
    Owner,
    RequestRow,
    RoomRow,
    SharesRow,
    ToDeviceRow,
    TrackedRow,
    Used,
    WithheldRow,
)
from bridge_core.crypto.ports import Row as CryptoRow
from bridge_core.engine.ports import Write
from bridge_core.store import crypto_tables as tables
from bridge_core.store.crypto_rows import CryptoRows, floor_position, inbound_digest
from bridge_core.store.crypto_sweep import CryptoSweep
from bridge_core.store.errors import UnreadableError
from bridge_core.store.reader import Reader
from bridge_core.store.seal import Seal
from bridge_core.store.statements import SEQUENCE
from bridge_core.store.work import Work
from bridge_core.store.writer import Writer

_T = TypeVar("_T")
_MANY: Final = 1_000
"""Values in one statement."""


class SealedCryptoStore:
    """Implements `CryptoStore`. Uncached: whoever holds a key in use keeps it."""

    def __init__(self, writer: Writer, reader: Reader, seal: Seal) -> None:
        self._writer = writer
        self._reader = reader
        self._rows = CryptoRows(seal)
        self._sweep = CryptoSweep(writer, reader)
        self._pickle_key = seal.pickle_key
        self._unseen = False

    @property
    def pickle_key(self) -> bytes:
        """32 bytes derived from the configured secret."""
        return self._pickle_key

    # -- writing ------------------------------------------------------------------------------------------

    async def commit(self, rows: Sequence[CryptoRow]) -> None:
        """Return when all rows are committed, in their order. Raises TransientError; then none was."""
        work = Work("crypto")
        work.write(self.writes(rows))
        if work.rows:
            await self._writer.commit(work)

    def later(self, rows: Sequence[CryptoRow]) -> None:
        """Commit soon, with what else is written behind. Never blocks."""
        writes = self.writes(rows)
        if writes:
            self._writer.behind().write(writes)
            self._unseen = True

    def writes(self, rows: Sequence[CryptoRow]) -> tuple[Write, ...]:
        """The rows, to be committed with something else. Those of one commit keep their order."""
        return tuple(Write(SEQUENCE, one) for row in rows for one in self._rows.statements(row))

    # -- reading ------------------------------------------------------------------------------------------

    async def account(self, owner: Owner) -> AccountRow | None:
        """A device's account."""
        table = tables.account.c
        found = await self._all(
            select(table.value, table.wanted).where(table.user_id == owner.user, table.device == owner.device)
        )
        for value, wanted in found:
            return AccountRow(owner, self._opened(value, "account", owner.user, owner.device), bool(wanted))
        return None

    async def owners(self) -> list[Owner]:
        """All devices that have an account."""
        found = await self._all(select(tables.account.c.user_id, tables.account.c.device))
        names: dict[str, str] = {}  # nearly all have the same: one string of each
        return [Owner(UserId(user), names.setdefault(device, device)) for user, device in found]

    async def wanting(self, limit: int) -> list[Owner]:
        """Devices whose one-time keys are wanted, by an index that holds only those."""
        table = tables.account.c
        found = await self._all(select(table.user_id, table.device).where(table.wanted == 1).limit(limit))
        return [Owner(UserId(user), device) for user, device in found]

    async def tracked(self, users: Sequence[UserId]) -> list[TrackedRow]:
        """Those of the users that are tracked."""
        table = tables.tracked
        found = await self._many(users, lambda part: select(table).where(table.c.user_id.in_(part)))
        return [
            TrackedRow(UserId(user), self._opened(value, "tracked", user), queried, outdated)
            for user, value, queried, outdated in found
        ]

    async def olm_sessions(self, owner: Owner, peers: Sequence[str]) -> list[OlmSessionRow]:
        """All Olm sessions with these identity keys."""
        table = tables.olm.c
        mine = select(table.peer, table.session, table.value, table.created_at, table.used_at).where(
            table.user_id == owner.user, table.device == owner.device
        )
        found = await self._many(peers, lambda part: mine.where(table.peer.in_(part)))
        return [
            OlmSessionRow(
                owner,
                peer,
                session,
                self._opened(value, "olm", owner.user, owner.device, peer, session),
                created_at,
                used_at,
            )
            for peer, session, value, created_at, used_at in found
        ]

    async def outbound(self, owner: Owner, room: RoomId) -> OutboundRow | None:
        """The outbound session of a device in a room."""
        table = tables.outbound.c
        found = await self._all(
            select(table.value).where(table.user_id == owner.user, table.device == owner.device, table.room == room)
        )
        for (value,) in found:
            return OutboundRow(owner, room, self._opened(value, "outbound", owner.user, owner.device, room))
        return None

    async def shares(self, room: RoomId, session: str) -> list[SharesRow]:
        """Who has got a session's key, by part."""
        table = tables.shares.c
        found = await self._all(
            select(table.part, table.value, table.at)
            .where(table.room == room, table.session == session)
            .order_by(table.part)
        )
        return [
            SharesRow(room, session, part, self._opened(value, "shares", room, session, str(part)), at)
            for part, value, at in found
        ]

    async def inbound(self, room: RoomId, session: str) -> list[InboundRow]:
        """The inbound sessions with this id."""
        table = tables.inbound.c
        found = await self._all(
            select(table.sender_key, table.sender, table.value, table.received_at, table.used_at).where(
                table.room == room, table.session == session
            )
        )
        return [
            InboundRow(
                room,
                session,
                key,
                UserId(sender),
                self._opened(value, "inbound", room, session, key, sender),
                received_at,
                used_at,
            )
            for key, sender, value, received_at, used_at in found
        ]

    async def unsaved(self, generation: int, limit: int) -> list[InboundRow]:
        """Inbound sessions that are not in the backup of this generation."""
        table = tables.inbound
        columns = [one for one in table.c if one.name != "saved"]
        found = await self._all(select(*columns).where(table.c.saved < generation).order_by(table.c.saved).limit(limit))
        return [
            InboundRow(
                RoomId(room),
                session,
                key,
                UserId(sender),
                self._opened(value, "inbound", room, session, key, sender),
                received_at,
                used_at,
            )
            for room, session, key, sender, value, received_at, used_at in found
        ]

    async def count_unsaved(self, generation: int) -> int:
        """How many such sessions there are."""
        table = tables.inbound
        ((found,),) = await self._all(select(func.count()).select_from(table).where(table.c.saved < generation))
        return int(found)

    async def used(self, room: RoomId, session: str, sender_key: str) -> Used:
        """How far an inbound session was used, also before it was swept."""
        table = tables.position.c
        mine = table.inbound == inbound_digest(room, session, sender_key)
        last = select(func.max(table.position)).where(mine).scalar_subquery()
        found = await self._all(
            select(table.position, table.event, table.ts).where(mine, or_(table.position < 0, table.position == last))
        )
        floors = [
            IndexRow(room, session, sender_key, floor_position(at), EventId(event), ts)
            for at, event, ts in found
            if at < 0
        ]
        highest = max((floor_position(at) if at < 0 else at for at, _, _ in found), default=-1)
        return Used(highest, floors[0] if floors else None)

    async def index(self, room: RoomId, session: str, sender_key: str, index: int) -> IndexRow | None:
        """Which event used an index."""
        table = tables.position.c
        digest = inbound_digest(room, session, sender_key)
        found = await self._all(select(table.event, table.ts).where(table.inbound == digest, table.position == index))
        for event, ts in found:
            return IndexRow(room, session, sender_key, index, EventId(event), ts)
        return None

    async def withheld(self, room: RoomId, session: str) -> list[WithheldRow]:
        """Who will not give us a session's key."""
        table = tables.withheld.c
        found = await self._all(
            select(table.sender, table.code, table.at).where(table.room == room, table.session == session)
        )
        return [WithheldRow(room, session, UserId(sender), code, at) for sender, code, at in found]

    async def last_to_device(self) -> int:
        """The highest id of a to-device message so far; 0 when there was none. The sweep leaves the highest one."""
        ((found,),) = await self._all(select(func.max(tables.to_device.c.id)))
        return int(found or 0)

    async def to_device(self, after: int, limit: int) -> list[ToDeviceRow]:
        """To-device messages that are not handled, in order; the value of one that does not open is empty."""
        table = tables.to_device
        found = await self._all(
            select(table).where(table.c.id > after, table.c.value.is_not(None)).order_by(table.c.id).limit(limit)
        )
        return [
            ToDeviceRow(number, bytes(digest), self._opened(value, "to_device", str(number)), at)
            for number, digest, value, at in found
        ]

    async def requests(self, room: RoomId, session: str) -> list[RequestRow]:
        """Our open requests for a session's key."""
        table = tables.request.c
        found = await self._all(
            select(table.request, table.value, table.at).where(table.room == room, table.session == session)
        )
        return [
            RequestRow(request, room, session, self._rows.open(value, "request", request), at)
            for request, value, at in found
        ]

    async def secret(self, name: str) -> bytes | None:
        """A named secret."""
        found = await self._all(select(tables.secret.c.value).where(tables.secret.c.name == name))
        for (value,) in found:
            return self._rows.open(value, "secret", name)
        return None

    async def rooms(self) -> list[RoomRow]:
        """All encrypted rooms."""
        found = await self._all(select(tables.room))
        return [RoomRow(RoomId(room), self._rows.open(value, "room", room)) for room, value in found]

    async def sweep(self, *, received_before: int, unused_before: int, forgotten_before: int) -> dict[str, int]:
        """Remove what is too old, in small pieces; return how many rows of what."""
        await self._seen()
        return await self._sweep.run(received_before, unused_before, forgotten_before)

    # -- inside -------------------------------------------------------------------------------------------

    def _opened(self, value: bytes, *place: str) -> bytes:
        try:
            return self._rows.open(value, *place)
        except UnreadableError:
            return b""  # one damaged row must not hide those beside it

    async def _all(self, wanted: Executable) -> Sequence[Any]:
        await self._seen()
        return await self._reader.run(lambda connection: connection.execute(wanted).all())

    async def _many(self, values: Sequence[_T], wanted: Callable[[Sequence[_T]], Executable]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(values), _MANY):
            found += await self._all(wanted(values[start : start + _MANY]))
        return found

    async def _seen(self) -> None:
        """Let what was handed to `later` be committed first."""
        if self._unseen:
            self._unseen = False
            try:
                await self._writer.settled()
            except BaseException:
                self._unseen = True
                raise
