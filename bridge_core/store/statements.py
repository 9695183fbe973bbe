"""The named statements of the writer, each over many rows, and their SQL for both databases.

A statement takes whole columns at once: SQLite gets a list of VALUES (one step for many rows, so that the writer's
thread takes the interpreter's lock once and not once per row), PostgreSQL one array per column, unnested.

Most run in a fixed order, whatever the order of the rows was. Those of encryption keep it: see `sequence`.
"""

from dataclasses import dataclass
from enum import Enum, auto

from sqlalchemy import BigInteger, LargeBinary, SmallInteger, Table

from bridge_core.store import crypto_tables as crypto
from bridge_core.store import tables


class Kind(Enum):
    """What a statement does with a row: the leading `keys` of its columns say which row."""

    INSERT = auto()
    OFFER = auto()
    """Insert unless there is one with the same `keys`."""
    UPSERT = auto()
    ADD = auto()
    UPDATE = auto()
    RAISE = auto()
    """Update to the greater of what is there and what is given."""
    DELETE = auto()


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `columns` is the order of values in a row; `fixed` are further assignments of an update.

    `first` are columns that an UPSERT sets in a new row only; `unless` are the columns by which an OFFER finds one.
    `guards`: so many columns after the keys are not set by an UPDATE: the row must have them as they are.
    """

    name: str
    kind: Kind
    table: Table
    columns: tuple[str, ...]
    keys: int = 0
    fixed: str = ""
    first: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    guards: int = 0

    @property
    def types(self) -> tuple[str, ...]:
        """The PostgreSQL types of the columns."""
        return tuple(_pg_type(self.table.c[name].type) for name in self.columns)

    def sqlite(self, rows: int) -> str:
        """SQL for this many rows; the parameters are the rows' values one after another."""
        marks = f"({', '.join('?' * len(self.columns))})"
        if self.kind is Kind.DELETE or (self.kind is Kind.UPDATE and len(self.columns) == self.keys):
            if self.keys == 1:
                where = f"{self.columns[0]} IN ({', '.join('?' * rows)})"
            else:
                # Not IN (VALUES ...): of several rows with keys of two columns SQLite looks for by walking the table.
                one = " AND ".join(f"{name} = ?" for name in self.columns)
                where = " OR ".join([f"({one})"] * rows)
            return f"{self._head()} WHERE {where}"
        values = f"(VALUES {', '.join([marks] * rows)})"
        if self.kind in _CHANGES:
            return self._update(f"{values} AS v", [f"column{n + 1}" for n in range(len(self.columns))])
        return f"INSERT INTO {self.table.name} ({', '.join(self.columns)}) {values[1:-1]}{self._conflict()}"

    def postgres(self) -> str:
        """SQL for any number of rows; the parameters are one array literal per column."""
        arrays = ", ".join(f"%s::{kind}[]" for kind in self.types)
        names = ", ".join(self.columns)
        source = f"unnest({arrays}) AS v({', '.join(f'v_{name}' for name in self.columns)})"
        if self.kind is Kind.DELETE:
            where = " AND ".join(f"t.{name} = v.v_{name}" for name in self.columns)
            return f"DELETE FROM {self.table.name} AS t USING {source} WHERE {where}"  # noqa: S608
        if self.kind in _CHANGES:
            return self._update(source, [f"v_{name}" for name in self.columns])
        return f"INSERT INTO {self.table.name} ({names}) SELECT * FROM {source}{self._conflict()}"  # noqa: S608

    def _head(self) -> str:
        if self.kind is Kind.DELETE:
            return f"DELETE FROM {self.table.name}"  # noqa: S608
        return f"UPDATE {self.table.name} SET {self.fixed}"  # noqa: S608

    def _update(self, source: str, names: list[str]) -> str:
        pairs = list(zip(self.columns, names, strict=True))
        fixed = self.keys + self.guards
        sets = [self._set(column, f"v.{name}") for column, name in pairs[fixed:]]
        where = [f"t.{column} = v.{name}" for column, name in pairs[:fixed]]
        sets += [self.fixed] if self.fixed else []
        head = f"UPDATE {self.table.name} AS t SET {', '.join(sets)}"  # noqa: S608
        return f"{head} FROM {source} WHERE {' AND '.join(where)}"

    def _set(self, column: str, new: str) -> str:
        if self.kind is Kind.RAISE:
            return f"{column} = CASE WHEN {new} > t.{column} THEN {new} ELSE t.{column} END"
        return f"{column} = {new}"

    def _conflict(self) -> str:
        if self.kind is Kind.INSERT:
            return ""
        if self.kind is Kind.OFFER:
            return f" ON CONFLICT ({', '.join(self.unless or self.columns[: self.keys])}) DO NOTHING"
        key = ", ".join(self.columns[: self.keys])
        rest = [name for name in self.columns[self.keys :] if name not in self.first]
        if not rest:
            return f" ON CONFLICT ({key}) DO NOTHING"
        old = f"{self.table.name}.{{0}} + " if self.kind is Kind.ADD else ""
        sets = ", ".join(f"{name} = {old.format(name)}excluded.{name}" for name in rest)
        return f" ON CONFLICT ({key}) DO UPDATE SET {sets}"

    @property
    def last_wins(self) -> bool:
        """Whether of several rows for one key only the last counts."""
        return self.kind is Kind.UPSERT or (self.kind is Kind.UPDATE and len(self.columns) > self.keys)

    @property
    def replaces(self) -> bool:
        """Whether a row leaves nothing of an earlier one for the same key in this statement."""
        return self.last_wins and not self.first and not self.guards

    @property
    def of_many(self) -> bool:
        """Whether a row is about several rows of the table: all whose key begins with it."""
        return self.kind is Kind.DELETE and len(self.columns) < len(self.table.primary_key)


_CHANGES = frozenset({Kind.UPDATE, Kind.RAISE})


def _pg_type(kind: object) -> str:
    if isinstance(kind, LargeBinary):
        return "bytea"
    if isinstance(kind, SmallInteger):
        return "smallint"
    return "bigint" if isinstance(kind, BigInteger) else "text"


def _all(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns)


ENTRY_COLUMNS = ("id", "direction", "network", "lane", "payload", "version", "received_at")
DELIVERY_COLUMNS = (
    "entry",
    "id",
    "network",
    "direction",
    "target",
    "state",
    "body",
    "version",
    "attempts",
    "first_attempt_at",
    "saved",
)

# In the order in which a group runs them: what makes rows, then what changes them, then what removes them. Ids are
# given out in memory beforehand, so whatever a group holds about one entry comes out right.
STATEMENTS = (
    Statement("entry_add", Kind.INSERT, tables.journal_entry, ENTRY_COLUMNS),
    Statement("dedupe_add", Kind.INSERT, tables.journal_dedupe, ("key", "entry", "day")),
    Statement("delivery_add", Kind.INSERT, tables.journal_delivery, DELIVERY_COLUMNS),
    Statement("message_add", Kind.INSERT, tables.message, _all(tables.message)[1:]),
    Statement("ghost_put", Kind.UPSERT, tables.ghost, _all(tables.ghost), 2),
    Statement("membership_put", Kind.UPSERT, tables.membership, _all(tables.membership), 2),
    Statement("expiring_put", Kind.UPSERT, tables.expiring, _all(tables.expiring), 2),
    Statement("wish_put", Kind.UPSERT, tables.member_wish, _all(tables.member_wish), 2),
    Statement("login_put", Kind.UPSERT, tables.login, _all(tables.login), 2),
    Statement("kv_put", Kind.UPSERT, tables.kv, _all(tables.kv), 2),
    Statement("txn_put", Kind.UPSERT, tables.txn, _all(tables.txn), 2),
    Statement("media_put", Kind.UPSERT, tables.media, _all(tables.media), 1),
    Statement("media_revoke", Kind.UPSERT, tables.media_revoked, _all(tables.media_revoked), 1),
    Statement("meta_put", Kind.UPSERT, tables.meta, _all(tables.meta), 1),
    Statement("queue_put", Kind.UPSERT, tables.queue_item, _all(tables.queue_item), 2),
    Statement("lease_beat", Kind.UPDATE, tables.lease, ("id", "heartbeat", "handling"), 1),
    Statement(
        "entry_postpone", Kind.UPDATE, tables.journal_entry, ("id", "attempts", "next_attempt_at", "last_error"), 1
    ),
    Statement(
        "delivery_attempt",
        Kind.UPDATE,
        tables.journal_delivery,
        ("entry", "id", "state", "attempts", "first_attempt_at", "saved"),
        2,
    ),
    Statement("delivery_dead", Kind.UPDATE, tables.journal_delivery, ("entry", "id", "last_error"), 2, "state = 2"),
    Statement(
        "entry_done",
        Kind.UPDATE,
        tables.journal_entry,
        ("id", "done_at"),
        1,
        "state = 1, payload = NULL, next_attempt_at = 0",
    ),
    Statement("entry_dead", Kind.UPDATE, tables.journal_entry, ("id", "done_at", "last_error"), 1, "state = 2"),
    Statement("entry_remove", Kind.DELETE, tables.journal_entry, ("id",), 1),
    Statement("delivery_end", Kind.DELETE, tables.journal_delivery, ("entry", "id"), 2),
    Statement("queue_remove", Kind.DELETE, tables.queue_item, ("queue", "key"), 2),
    Statement("counter_add", Kind.ADD, tables.counter, _all(tables.counter), 3),
)

# Encryption: run in the order of their rows.
IN_SEQUENCE = (
    Statement("account_put", Kind.UPSERT, crypto.account, ("user_id", "device", "value"), 2),
    Statement("account_wanted", Kind.UPDATE, crypto.account, ("user_id", "device", "wanted"), 2),
    Statement("olm_put", Kind.UPSERT, crypto.olm, _all(crypto.olm), 4),
    Statement("olm_gone", Kind.DELETE, crypto.olm, ("user_id", "device", "peer", "session"), 4),
    Statement("outbound_put", Kind.UPSERT, crypto.outbound, _all(crypto.outbound), 3),
    Statement("tracked_put", Kind.UPSERT, crypto.tracked, _all(crypto.tracked), 1, first=("outdated",)),
    Statement("tracked_outdated", Kind.RAISE, crypto.tracked, ("user_id", "outdated"), 1),
    Statement("shares_put", Kind.UPSERT, crypto.shares, _all(crypto.shares), 3),
    Statement("inbound_put", Kind.UPSERT, crypto.inbound, _all(crypto.inbound), 3),
    Statement("inbound_used", Kind.RAISE, crypto.inbound, ("room", "session", "sender_key", "used_at"), 3),
    Statement(
        "inbound_saved",
        Kind.UPDATE,
        crypto.inbound,
        ("room", "session", "sender_key", "received_at", "saved"),
        3,
        guards=1,
    ),
    Statement("position_put", Kind.OFFER, crypto.position, _all(crypto.position), 2),
    Statement("withheld_put", Kind.UPSERT, crypto.withheld, _all(crypto.withheld), 3),
    Statement("to_device_put", Kind.OFFER, crypto.to_device, _all(crypto.to_device), 1, unless=("digest",)),
    Statement("to_device_done", Kind.UPDATE, crypto.to_device, ("id",), 1, "value = NULL"),
    Statement("request_put", Kind.UPSERT, crypto.request, _all(crypto.request), 1),
    Statement("request_gone", Kind.DELETE, crypto.request, ("request",), 1),
    Statement("secret_put", Kind.UPSERT, crypto.secret, _all(crypto.secret), 1),
    Statement("secret_gone", Kind.DELETE, crypto.secret, ("name",), 1),
    Statement("crypto_room_put", Kind.UPSERT, crypto.room, _all(crypto.room), 1),
)
SEQUENCE = "sequence"
"""What a row of one of these is handed over as: its statement's name, then its values."""
ORDER = (*(statement.name for statement in STATEMENTS), SEQUENCE)
"""The names, in the order in which a group runs them."""
BY_NAME = {statement.name: statement for statement in (*STATEMENTS, *IN_SEQUENCE)}
"""Each statement by its name."""
