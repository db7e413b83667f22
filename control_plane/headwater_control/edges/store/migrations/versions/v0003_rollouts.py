"""Rollouts and deployments."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.create_table(
        "rollout",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("model", NAME, sa.ForeignKey("model.name"), nullable=False),
        sa.Column("version", NAME, sa.ForeignKey("version.id"), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("model", "generation", name="uq_rollout_model_generation"),
    )
    op.create_table(
        "deployment",
        sa.Column("rollout", NAME, sa.ForeignKey("rollout.id"), primary_key=True),
        sa.Column("device", NAME, sa.ForeignKey("device.id"), primary_key=True),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
    )
    op.create_index("ix_deployment_desired", "deployment", ["device", "model", "generation"])
