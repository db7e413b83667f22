"""When an invitation ended by its last use, or was withdrawn."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.add_column("invite", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
