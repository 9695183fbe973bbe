"""All tables. Times are milliseconds since 1970; what is called sealed is encrypted by `seal.Seal`.

Directions and states are the numbers of `bridge_core.engine.ports`. Nothing has a foreign key: rows of one commit are
written statement by statement over many messages at once, and the one writer keeps them together.
"""

from sqlalchemy import Column, Identity, Index, SmallInteger, Table, text

from bridge_core.store.columns import BIG_KEY, metadata
from bridge_core.store.columns import an_id as _id
from bridge_core.store.columns import number as _number
from bridge_core.store.columns import octets as _bytes
from bridge_core.store.columns import words as _text

__all__ = ["metadata"]

ENTRY_PENDING, ENTRY_DONE, ENTRY_DEAD = 0, 1, 2

journal_entry = Table(
    "journal_entry",
    metadata,
    _id(),
    _number("direction", kind=SmallInteger),
    _text("network"),
    _text("lane"),
    _bytes("payload", null=True),
    _number("version", kind=SmallInteger),
    _number("state", 0, kind=SmallInteger),
    _number("attempts", 0),
    _number("next_attempt_at", 0),
    _text("last_error", null=True),
    _number("received_at"),
    _number("done_at", 0),
    _number("crashes", 0),
    _number("attempts_at_crash", 0),
)
"""What was accepted. `payload` is sealed, and NULL once the entry is done."""

Index(
    "journal_entry_open",
    journal_entry.c.direction,
    journal_entry.c.lane,
    journal_entry.c.id,
    sqlite_where=text("state = 0"),
    postgresql_where=text("state = 0"),
)
Index("journal_entry_dead", journal_entry.c.id, sqlite_where=text("state = 2"), postgresql_where=text("state = 2"))

journal_delivery = Table(
    "journal_delivery",
    metadata,
    _number("entry", key=True),
    _number("id", key=True),
    _text("network"),
    _number("direction", kind=SmallInteger),
    _text("target"),
    _number("state", kind=SmallInteger),
    _bytes("body"),
    _number("version", kind=SmallInteger),
    _number("attempts", 0),
    _number("first_attempt_at", 0),
    _bytes("saved", null=True),
    _text("last_error", null=True),
    sqlite_with_rowid=False,
)
"""Deliveries that have not ended, and dead ones. An entry is routed when it has one. `body`, `saved` are sealed."""

journal_dedupe = Table(
    "journal_dedupe",
    metadata,
    _bytes("key", key=True),
    _number("entry"),
    _number("day"),
    sqlite_with_rowid=False,
)
"""Digests of what was accepted, kept longer than the entries. `day`: days since 1970."""

counter = Table(
    "counter",
    metadata,
    _text("network", key=True),
    _number("direction", key=True, kind=SmallInteger),
    _text("name", key=True),
    _number("value"),
    sqlite_with_rowid=False,
)
"""The counters of every delivery's fate, committed with what they count."""

txn = Table("txn", metadata, _text("id", key=True), _bytes("digest", key=True), _number("at"), sqlite_with_rowid=False)
"""Transactions answered, known by id and digest together: a homeserver may start numbering again."""

message = Table(
    "message",
    metadata,
    Column("id", BIG_KEY, Identity(), primary_key=True),
    _number("portal"),
    _text("message"),
    _number("part"),
    _text("room"),
    _text("event"),
    _text("sender"),
    _number("timestamp"),
    _number("message_hash"),
    _number("event_hash"),
)
"""Which event is which message. Found by hashes: narrow indexes, since every message adds to both at random places.

Of several rows for one (portal, message, part, room) the last one holds.
"""

Index("message_by_message", message.c.message_hash)
Index("message_by_event", message.c.event_hash)

portal = Table(
    "portal",
    metadata,
    _id(),
    _text("network"),
    _text("chat"),
    _text("receiver"),
    _text("name"),
    _text("topic"),
    _text("options"),
)
"""`receiver` is empty for none; `options` is JSON."""

Index("portal_key", portal.c.network, portal.c.chat, portal.c.receiver, unique=True)

portal_room = Table(
    "portal_room",
    metadata,
    _number("portal", key=True),
    _number("position", key=True),
    _text("room"),
    sqlite_with_rowid=False,
)

ghost = Table(
    "ghost",
    metadata,
    _text("network", key=True),
    _text("remote", key=True),
    _text("user_id"),
    _text("device", null=True),
    _text("name", null=True),
    _text("avatar", null=True),
    _text("avatar_source", null=True),
    sqlite_with_rowid=False,
)
Index("ghost_user", ghost.c.user_id)

membership = Table(
    "membership",
    metadata,
    _text("room", key=True),
    _text("user_id", key=True),
    _number("joined", kind=SmallInteger),
    sqlite_with_rowid=False,
)

member_wish = Table(
    "member_wish",
    metadata,
    _text("room", key=True),
    _text("user_id", key=True),
    _number("wish", kind=SmallInteger),
    _number("due"),
    _text("network"),
    _text("remote"),
    _text("name", null=True),
    sqlite_with_rowid=False,
)
"""Memberships of ghosts that are still to be brought about: a room that is as it should be has no row.

A wish of 0 is none (any more), swept up later: so a put after a removal needs no order of statements.
"""

Index("member_wish_due", member_wish.c.due)

bridge_user = Table(
    "bridge_user",
    metadata,
    _text("id", key=True),
    _text("management_room", null=True),
    _text("options"),
    sqlite_with_rowid=False,
)
Index("bridge_user_room", bridge_user.c.management_room)

login = Table(
    "login",
    metadata,
    _text("network", key=True),
    _text("id", key=True),
    _text("user_id"),
    _text("name"),
    _number("provided", kind=SmallInteger),
    _bytes("settings"),
    sqlite_with_rowid=False,
)
"""`settings` is sealed JSON: settings and secrets."""

kv = Table(
    "kv",
    metadata,
    _text("namespace", key=True),
    _text("key", key=True),
    _bytes("value", null=True),
    _number("sealed", kind=SmallInteger),
    sqlite_with_rowid=False,
)
"""A NULL value is a removed key, swept up later: so a put after a removal needs no order of statements."""

expiring = Table(
    "expiring",
    metadata,
    _text("room", key=True),
    _text("event", key=True),
    _text("sender"),
    _number("due"),
    sqlite_with_rowid=False,
)
"""Messages that disappear: who redacts which event when."""

Index("expiring_due", expiring.c.due)

queue_item = Table(
    "queue_item",
    metadata,
    _text("queue", key=True),
    _text("key", key=True),
    _bytes("body"),
    _number("due"),
    _text("part_of"),
    _number("attempts"),
    sqlite_with_rowid=False,
)
"""Work of networks that outlives the process. `body` is sealed."""

Index("queue_item_due", queue_item.c.queue, queue_item.c.due, queue_item.c.key)
Index("queue_item_parts", queue_item.c.queue, queue_item.c.part_of)

media = Table(
    "media",
    metadata,
    _text("key", key=True),
    _text("mxc"),
    _number("uploaded", kind=SmallInteger),
    _number("at"),
    sqlite_with_rowid=False,
)
"""Content addresses, stored before their bytes are put."""

media_revoked = Table("media_revoked", metadata, _text("link", key=True), _number("at"), sqlite_with_rowid=False)
"""Media links taken back, for example since their event was redacted."""

lease = Table(
    "lease",
    metadata,
    _id(),
    _text("owner"),
    _text("host"),
    _number("started_at"),
    _number("heartbeat"),
    _number("clean", kind=SmallInteger),
    _number("handling", kind=SmallInteger),
)
"""One row: who runs on this database, and whether it stopped in good order."""

meta = Table("meta", metadata, _text("name", key=True), _text("value"), sqlite_with_rowid=False)
"""Facts about the database: key fingerprint, id limits, commit mark, runs."""
