"""What the engine keeps of rooms, members and messages that disappear."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and columns."""
    _members()
    _expiring()
    op.add_column("ghost", sa.Column("avatar_source", sa.Text(), nullable=True))


def _expiring() -> None:
    op.create_table(
        "expiring",
        sa.Column("room", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("due", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("room", "event"),
        sqlite_with_rowid=False,
    )
    op.create_index("expiring_due", "expiring", ["due"], unique=False)


def _members() -> None:
    op.create_table(
        "member_wish",
        sa.Column("room", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("wish", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("due", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("room", "user_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("member_wish_due", "member_wish", ["due"], unique=False)
