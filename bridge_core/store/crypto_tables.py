"""The tables of encryption. What is called `value` is sealed for the row it is in; times are ms since 1970."""

from sqlalchemy import Index, Table, text

from bridge_core.store.columns import an_id, metadata, number, octets, words

__all__ = ["metadata"]

account = Table(
    "crypto_account",
    metadata,
    words("user_id", key=True),
    words("device", key=True),
    octets("value"),
    number("wanted", 0),
    sqlite_with_rowid=False,
)
"""Devices of ours. `wanted`: one-time keys may be running out."""

Index(
    "crypto_account_wanted",
    account.c.user_id,
    account.c.device,
    sqlite_where=text("wanted = 1"),
    postgresql_where=text("wanted = 1"),
)

olm = Table(
    "crypto_olm",
    metadata,
    words("user_id", key=True),
    words("device", key=True),
    words("peer", key=True),
    words("session", key=True),
    octets("value"),
    number("created_at"),
    number("used_at"),
    sqlite_with_rowid=False,
)
"""Olm sessions of our devices with those that have the identity key `peer`."""

outbound = Table(
    "crypto_outbound",
    metadata,
    words("user_id", key=True),
    words("device", key=True),
    words("room", key=True),
    octets("value"),
    sqlite_with_rowid=False,
)
"""The Megolm session in which a device of ours speaks in a room."""

shares = Table(
    "crypto_shares",
    metadata,
    words("room", key=True),
    words("session", key=True),
    number("part", key=True),
    octets("value"),
    number("at"),
    sqlite_with_rowid=False,
)
"""Who has got the key of one of our sessions."""

tracked = Table(
    "crypto_tracked",
    metadata,
    words("user_id", key=True),
    octets("value"),
    number("queried"),
    number("outdated"),
    sqlite_with_rowid=False,
)
"""Users and their devices; to be asked for anew when `outdated` is above `queried`."""

inbound = Table(
    "crypto_inbound",
    metadata,
    words("room", key=True),
    words("session", key=True),
    words("sender_key", key=True),
    words("sender"),
    octets("value"),
    number("received_at"),
    number("used_at"),
    number("saved", 0),
    sqlite_with_rowid=False,
)
"""Megolm sessions that others speak in. `saved`: the generation of the backup that it is in; 0 for none."""

Index("crypto_inbound_saved", inbound.c.saved)

position = Table(
    "crypto_index",
    metadata,
    octets("inbound", key=True),
    number("position", key=True),
    words("event"),
    number("ts"),
    sqlite_with_rowid=False,
)
"""Which event used which index of an inbound session: one row a message, so the session is named by a digest.

When a session is swept the row of its highest index stays, with the position -1 - index.
"""

withheld = Table(
    "crypto_withheld",
    metadata,
    words("room", key=True),
    words("session", key=True),
    words("sender", key=True),
    words("code"),
    number("at"),
    sqlite_with_rowid=False,
)

to_device = Table(
    "crypto_to_device",
    metadata,
    an_id(),
    octets("digest"),
    octets("value", null=True),
    number("at"),
)
"""To-device messages; `value` is NULL once one is handled. Its digest tells when it comes again."""

Index("crypto_to_device_digest", to_device.c.digest, unique=True)
Index(
    "crypto_to_device_open",
    to_device.c.id,
    sqlite_where=text("value IS NOT NULL"),
    postgresql_where=text("value IS NOT NULL"),
)

request = Table(
    "crypto_request",
    metadata,
    words("request", key=True),
    words("room"),
    words("session"),
    octets("value"),
    number("at"),
    sqlite_with_rowid=False,
)
"""Our requests for keys that were not answered."""

Index("crypto_request_session", request.c.room, request.c.session)

secret = Table("crypto_secret", metadata, words("name", key=True), octets("value"), sqlite_with_rowid=False)

room = Table("crypto_room", metadata, words("room", key=True), octets("value"), sqlite_with_rowid=False)
"""How rooms are encrypted."""
