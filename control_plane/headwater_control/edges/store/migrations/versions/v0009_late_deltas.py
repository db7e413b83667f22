"""Which deltas came too late for their rounds, and how many of each device."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.add_column("task", sa.Column("late_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("device", sa.Column("late", sa.BigInteger(), nullable=False, server_default="0"))
