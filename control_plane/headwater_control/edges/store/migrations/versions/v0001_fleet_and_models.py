"""The fleet, models and versions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.create_table(
        "device",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("registered_at", TIME, nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("inventory", sa.JSON(), nullable=False),
        sa.Column("datasets", sa.JSON(), nullable=False),
        sa.Column("engines", sa.JSON(), nullable=False),
        sa.Column("hello_hash", NAME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("held_revision", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("presence_at", TIME),
        sa.Column("last_seen", TIME),
    )
    op.create_table(
        "model",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("bundle_digest", NAME, nullable=False),
        sa.Column("bundle_size", sa.BigInteger(), nullable=False),
        sa.Column("graph_digest", NAME, nullable=False),
        sa.Column("graph_size", sa.BigInteger(), nullable=False),
        sa.Column("loss", sa.Text(), nullable=False),
        sa.Column("elements", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "version",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("model", NAME, sa.ForeignKey("model.name"), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("parameters_digest", NAME, nullable=False),
        sa.Column("parameters_size", sa.BigInteger(), nullable=False),
        sa.Column("parent", NAME),
        sa.Column("run", NAME),
        sa.Column("round", sa.BigInteger()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("onnx_digest", NAME),
        sa.Column("onnx_size", sa.BigInteger()),
        sa.Column("reference_digest", NAME),
        sa.Column("reference_size", sa.BigInteger()),
        sa.UniqueConstraint("model", "number", name="uq_version_model_number"),
        sa.UniqueConstraint("run", "round", name="uq_version_run_round"),
    )
