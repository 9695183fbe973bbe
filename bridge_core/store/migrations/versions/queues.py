"""Durable queues of networks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "queue_item",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("due", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part_of", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("queue", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("queue_item_due", "queue_item", ["queue", "due", "key"], unique=False)
    op.create_index("queue_item_parts", "queue_item", ["queue", "part_of"], unique=False)


def downgrade() -> None:
    """Remove the table; what waits in it is lost."""
    op.drop_table("queue_item")
