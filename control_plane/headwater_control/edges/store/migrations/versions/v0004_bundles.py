"""Bundles: the ways in which a model is trained."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.create_table(
        "bundle",
        sa.Column("model", NAME, sa.ForeignKey("model.name"), primary_key=True),
        sa.Column("training", NAME, primary_key=True),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
    )
