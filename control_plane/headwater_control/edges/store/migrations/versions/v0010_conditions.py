"""What a device's owner sets for training now, and whether it is met."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.add_column("device", sa.Column("conditions", sa.JSON(), nullable=False, server_default="[]"))
