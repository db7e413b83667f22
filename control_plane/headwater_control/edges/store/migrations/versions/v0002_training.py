"""Runs, rounds and tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.create_table(
        "run",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("version", NAME, sa.ForeignKey("version.id"), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("leader", NAME),
        sa.Column("lease_until", TIME),
        sa.Column("token", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_run_state", "run", ["state"])
    op.create_table(
        "round",
        sa.Column("run", NAME, sa.ForeignKey("run.id"), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("base", NAME, nullable=False),
        sa.Column("evaluate", sa.Boolean(), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("target", sa.BigInteger(), nullable=False),
        sa.Column("quorum", sa.BigInteger(), nullable=False),
        sa.Column("deadline", TIME),
        sa.Column("frozen", sa.JSON(), nullable=False),
        sa.Column("merged", NAME),
        sa.Column("collected_at", TIME),
        sa.Column("closed_at", TIME),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_table(
        "task",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("run", NAME, nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("device", NAME, sa.ForeignKey("device.id"), nullable=False),
        sa.Column("order", sa.BigInteger(), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("deadline", TIME, nullable=False),
        sa.Column("phase", NAME),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("loss", sa.Double()),
        sa.Column("waiting_for", sa.Text(), nullable=False),
        sa.Column("progress_at", TIME),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("delta_digest", NAME),
        sa.Column("delta_size", sa.BigInteger()),
        sa.Column("codec", NAME, nullable=False),
        sa.Column("metrics", sa.JSON()),
        sa.Column("bytes_up", sa.BigInteger(), nullable=False),
        sa.Column("bytes_down", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", TIME),
        sa.ForeignKeyConstraint(["run", "round"], ["round.run", "round.number"], name="fk_task_round"),
    )
    op.create_index("ix_task_round", "task", ["run", "round", "order"])
    op.create_index("ix_task_device_state", "task", ["device", "state"])
