"""Which sessions are in the backup of keys."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: nothing is in a backup yet."""
    op.add_column(
        "crypto_inbound", sa.Column("saved", sa.BigInteger(), autoincrement=False, nullable=False, server_default="0")
    )
    op.create_index("crypto_inbound_saved", "crypto_inbound", ["saved"], unique=False)


def downgrade() -> None:
    """Remove the column: the next version puts all into the backup once more."""
    op.drop_index("crypto_inbound_saved", "crypto_inbound")
    op.drop_column("crypto_inbound", "saved")
