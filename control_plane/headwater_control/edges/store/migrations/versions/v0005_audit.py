"""The audit log, and where it ends."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", NAME, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("request", NAME, nullable=False),
        sa.Column("action", NAME, nullable=False),
        sa.Column("subject", NAME, nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("previous", NAME, nullable=False),
        sa.Column("digest", NAME, nullable=False),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("only", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("digest", NAME, nullable=False),
    )
    op.bulk_insert(head, [{"only": 1, "number": 0, "digest": ""}])
