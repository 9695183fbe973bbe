"""A `CryptoStore` in memory, which can end the process before or after any commit."""

from collections.abc import Callable, Sequence
from typing import Any

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto import ports
from bridge_core.crypto.ports import Owner, Row
from bridge_core.engine.ports import Write


class Killed(BaseException):
    """The process ended here."""


class MemoryCryptoStore:
    """Rows by class and key. What was handed to `later` is lost with the process until the next commit or read."""

    pickle_key = bytes(range(32))

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Any] = {}
        self.behind: list[Row] = []
        self.saved: dict[tuple[str, str, str], int] = {}
        """The generation of the backup that an inbound session is in."""
        self.floors: dict[tuple[str, str, str], ports.IndexRow] = {}
        """The highest used index of sessions that were swept."""
        self.commits = 0
        self.at_commit: Callable[[int, str], None] = lambda number, when: None
        self.broken = False
        self.swept = (0, 0, 0)

    async def commit(self, rows: Sequence[Row]) -> None:
        self.commits += 1
        if self.broken:
            raise TransientError("the database is away")
        self.at_commit(self.commits, "before")
        self._flush()
        for row in rows:
            self._apply(row)
        self.at_commit(self.commits, "after")

    def later(self, rows: Sequence[Row]) -> None:
        self.behind.extend(rows)

    def writes(self, rows: Sequence[Row]) -> tuple[Write, ...]:
        return tuple(Write("crypto", (row,)) for row in rows)

    def written(self, writes: Sequence[Write]) -> None:
        """Commit what `writes` made, as the journal would."""
        for write in writes:
            self._apply(write.row[0])

    def lose_memory(self) -> None:
        """The process has ended: what was not committed is gone."""
        self.behind.clear()
        self.at_commit = lambda number, when: None

    def _flush(self) -> None:
        rows, self.behind = self.behind, []
        for row in rows:
            self._apply(row)

    def all(self, kind: type[Any]) -> list[Any]:
        """All rows of a class."""
        self._flush()
        return [row for key, row in self.rows.items() if key[0] is kind]

    def _apply(self, row: Row) -> None:
        put = self.rows
        match row:
            case ports.AccountRow():
                old = put.get((ports.AccountRow, row.owner))
                put[ports.AccountRow, row.owner] = ports.AccountRow(row.owner, row.value, old.wanted if old else False)
            case ports.KeysWanted():
                old = put.get((ports.AccountRow, row.owner))
                if old is not None:
                    put[ports.AccountRow, row.owner] = ports.AccountRow(row.owner, old.value, row.wanted)
            case ports.TrackedRow():
                old = put.get((ports.TrackedRow, row.user))
                outdated = old.outdated if old else row.outdated
                put[ports.TrackedRow, row.user] = ports.TrackedRow(row.user, row.value, row.queried, outdated)
            case ports.Outdated():
                old = put.get((ports.TrackedRow, row.user))
                if old is not None:
                    mark = max(old.outdated, row.mark)
                    put[ports.TrackedRow, row.user] = ports.TrackedRow(row.user, old.value, old.queried, mark)
            case ports.OlmSessionRow():
                put[ports.OlmSessionRow, row.owner, row.peer, row.session] = row
            case ports.OlmSessionGone():
                put.pop((ports.OlmSessionRow, row.owner, row.peer, row.session), None)
            case ports.OutboundRow():
                put[ports.OutboundRow, row.owner, row.room] = row
            case ports.SharesRow():
                put[ports.SharesRow, row.room, row.session, row.part] = row
            case ports.InboundRow():
                put[ports.InboundRow, row.room, row.session, row.sender_key] = row
                self.saved.pop((row.room, row.session, row.sender_key), None)
            case ports.InboundUsed():
                pass
            case ports.InboundSaved():
                old = put.get((ports.InboundRow, row.room, row.session, row.sender_key))
                if old is not None and old.received_at == row.received_at:
                    self.saved[row.room, row.session, row.sender_key] = row.generation
            case ports.IndexRow():
                put.setdefault((ports.IndexRow, row.room, row.session, row.sender_key, row.index), row)
            case ports.WithheldRow():
                put[ports.WithheldRow, row.room, row.session, row.sender] = row
            case ports.ToDeviceRow():
                if not any(key[0] is ports.ToDeviceRow and one.digest == row.digest for key, one in put.items()):
                    put[ports.ToDeviceRow, row.id] = row
            case ports.ToDeviceDone():
                old = put.get((ports.ToDeviceRow, row.id))
                if old is not None:
                    put[ports.ToDeviceRow, row.id] = ports.ToDeviceRow(row.id, old.digest, b"", old.at)
            case ports.RequestRow():
                put[ports.RequestRow, row.request] = row
            case ports.RequestGone():
                put.pop((ports.RequestRow, row.request), None)
            case ports.SecretRow():
                if row.value is None:
                    put.pop((ports.SecretRow, row.name), None)
                else:
                    put[ports.SecretRow, row.name] = row
            case ports.RoomRow():
                put[ports.RoomRow, row.room] = row

    def _get(self, *key: Any) -> Any:
        self._flush()
        if self.broken:
            raise TransientError("the database is away")
        return self.rows.get(key)

    async def account(self, owner: Owner) -> ports.AccountRow | None:
        return self._get(ports.AccountRow, owner)

    async def owners(self) -> list[Owner]:
        return [row.owner for row in self.all(ports.AccountRow)]

    async def wanting(self, limit: int) -> list[Owner]:
        return [row.owner for row in self.all(ports.AccountRow) if row.wanted][:limit]

    async def tracked(self, users: Sequence[UserId]) -> list[ports.TrackedRow]:
        return [row for user in users if (row := self._get(ports.TrackedRow, user)) is not None]

    async def olm_sessions(self, owner: Owner, peers: Sequence[str]) -> list[ports.OlmSessionRow]:
        wanted = set(peers)
        return [row for row in self.all(ports.OlmSessionRow) if row.owner == owner and row.peer in wanted]

    async def outbound(self, owner: Owner, room: RoomId) -> ports.OutboundRow | None:
        return self._get(ports.OutboundRow, owner, room)

    async def shares(self, room: RoomId, session: str) -> list[ports.SharesRow]:
        return [row for row in self.all(ports.SharesRow) if (row.room, row.session) == (room, session)]

    async def inbound(self, room: RoomId, session: str) -> list[ports.InboundRow]:
        return [row for row in self.all(ports.InboundRow) if (row.room, row.session) == (room, session)]

    async def unsaved(self, generation: int, limit: int) -> list[ports.InboundRow]:
        if self.broken:
            raise TransientError("the database is away")
        rows = self.all(ports.InboundRow)
        return [row for row in rows if self.saved.get((row.room, row.session, row.sender_key), 0) < generation][:limit]

    async def count_unsaved(self, generation: int) -> int:
        return len(await self.unsaved(generation, 1_000_000))

    async def used(self, room: RoomId, session: str, sender_key: str) -> ports.Used:
        rows = [row for row in self.all(ports.IndexRow) if (row.room, row.session) == (room, session)]
        floor = self.floors.get((room, session, sender_key))
        indexes = [row.index for row in rows if row.sender_key == sender_key]
        return ports.Used(max(indexes, default=floor.index if floor else -1), floor)

    async def index(self, room: RoomId, session: str, sender_key: str, index: int) -> ports.IndexRow | None:
        return self._get(ports.IndexRow, room, session, sender_key, index)

    async def withheld(self, room: RoomId, session: str) -> list[ports.WithheldRow]:
        return [row for row in self.all(ports.WithheldRow) if (row.room, row.session) == (room, session)]

    async def last_to_device(self) -> int:
        return max((row.id for row in self.all(ports.ToDeviceRow)), default=0)

    async def to_device(self, after: int, limit: int) -> list[ports.ToDeviceRow]:
        rows = [row for row in self.all(ports.ToDeviceRow) if row.value and row.id > after]
        return sorted(rows, key=lambda row: row.id)[:limit]

    async def requests(self, room: RoomId, session: str) -> list[ports.RequestRow]:
        return [row for row in self.all(ports.RequestRow) if (row.room, row.session) == (room, session)]

    async def secret(self, name: str) -> bytes | None:
        row = self._get(ports.SecretRow, name)
        return row.value if row is not None else None

    async def rooms(self) -> list[ports.RoomRow]:
        return self.all(ports.RoomRow)

    async def sweep(self, *, received_before: int, unused_before: int, forgotten_before: int) -> dict[str, int]:
        self.swept = (received_before, unused_before, forgotten_before)
        return {}

    def forget_inbound(self) -> None:
        """Sweep all inbound sessions, however new."""
        self._flush()
        for row in sorted(self.all(ports.IndexRow), key=lambda one: one.index):
            self.floors[row.room, row.session, row.sender_key] = row
        self.rows = {
            key: row for key, row in self.rows.items() if not isinstance(row, (ports.InboundRow, ports.IndexRow))
        }
