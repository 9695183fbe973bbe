"""Encryption: keys, sessions, devices, and what came for them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXT, _BYTES, _NUMBER = sa.Text, sa.LargeBinary, sa.BigInteger
_BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# name: keys, other columns
_Columns = dict[str, type[sa.types.TypeEngine[Any]]]
_TABLES: dict[str, tuple[_Columns, _Columns]] = {
    "crypto_account": ({"user_id": _TEXT, "device": _TEXT}, {"value": _BYTES}),
    "crypto_olm": (
        {"user_id": _TEXT, "device": _TEXT, "peer": _TEXT, "session": _TEXT},
        {"value": _BYTES, "created_at": _NUMBER, "used_at": _NUMBER},
    ),
    "crypto_outbound": ({"user_id": _TEXT, "device": _TEXT, "room": _TEXT}, {"value": _BYTES}),
    "crypto_shares": ({"room": _TEXT, "session": _TEXT, "part": _NUMBER}, {"value": _BYTES, "at": _NUMBER}),
    "crypto_tracked": ({"user_id": _TEXT}, {"value": _BYTES, "queried": _NUMBER, "outdated": _NUMBER}),
    "crypto_inbound": (
        {"room": _TEXT, "session": _TEXT, "sender_key": _TEXT},
        {"sender": _TEXT, "value": _BYTES, "received_at": _NUMBER, "used_at": _NUMBER},
    ),
    "crypto_index": ({"inbound": _BYTES, "position": _NUMBER}, {"event": _TEXT, "ts": _NUMBER}),
    "crypto_withheld": ({"room": _TEXT, "session": _TEXT, "sender": _TEXT}, {"code": _TEXT, "at": _NUMBER}),
    "crypto_request": ({"request": _TEXT}, {"room": _TEXT, "session": _TEXT, "value": _BYTES, "at": _NUMBER}),
    "crypto_secret": ({"name": _TEXT}, {"value": _BYTES}),
    "crypto_room": ({"room": _TEXT}, {"value": _BYTES}),
}


def upgrade() -> None:
    """Add the tables."""
    for name, (keys, rest) in _TABLES.items():
        columns: list[sa.Column[Any]] = [
            sa.Column(column, kind(), autoincrement=False, nullable=False) for column, kind in {**keys, **rest}.items()
        ]
        op.create_table(name, *columns, sa.PrimaryKeyConstraint(*keys), sqlite_with_rowid=False)
    op.add_column(
        "crypto_account", sa.Column("wanted", sa.BigInteger(), autoincrement=False, nullable=False, server_default="0")
    )
    op.create_table(
        "crypto_to_device",
        sa.Column("id", _BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _partial("crypto_account_wanted", "crypto_account", ["user_id", "device"], "wanted = 1")
    op.create_index("crypto_to_device_digest", "crypto_to_device", ["digest"], unique=True)
    _partial("crypto_to_device_open", "crypto_to_device", ["id"], "value IS NOT NULL")
    op.create_index("crypto_request_session", "crypto_request", ["room", "session"], unique=False)


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=False, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    """Remove the tables: every device of the bridge is lost with them."""
    for name in [*_TABLES, "crypto_to_device"]:
        op.drop_table(name)
