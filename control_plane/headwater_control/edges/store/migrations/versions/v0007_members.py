"""Invitations, standings and certificates; what a device's kernel lacks."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.add_column("device", sa.Column("unconfined", sa.JSON(), nullable=False, server_default="[]"))
    op.create_table(
        "invite",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("hash", NAME, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("device", NAME, nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("hash", name="uq_invite_hash"),
    )
    op.create_table(
        "standing",
        sa.Column("device", NAME, primary_key=True),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_table(
        "certificate",
        sa.Column("serial", NAME, primary_key=True),
        sa.Column("device", NAME, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends", sa.DateTime(timezone=True), nullable=False),
        sa.Column("invite", NAME, nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("ix_certificate_device", "certificate", ["device"])
