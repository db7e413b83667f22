"""The tables and repository of rollouts and deployments."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

import sqlalchemy as sa
from headwater_wire.ids import DeviceId, ModelName, RolloutId
from sqlmodel import Field, SQLModel

from headwater_control.core.rollout import DeploymentRecord, DeploymentState, Rollout, RolloutState
from headwater_control.edges.store.columns import LabelSet, Name, Utc, Whole, Words
from headwater_control.edges.store.rows import Row, Rows
from headwater_control.ports import Labels


class RolloutRow(SQLModel, table=True):
    """One rollout."""

    __tablename__ = "rollout"
    __table_args__ = (sa.UniqueConstraint("model", "generation", name="uq_rollout_model_generation"),)

    id: str = Field(primary_key=True, sa_type=Name)
    model: str = Field(foreign_key="model.name", sa_type=Name)
    version: str = Field(foreign_key="version.id", sa_type=Name)
    labels: Labels = Field(sa_type=LabelSet)
    generation: int = Field(sa_type=Whole)
    state: str = Field(sa_type=Name)
    created_at: datetime = Field(sa_type=Utc)


class DeploymentRow(SQLModel, table=True):
    """One device's install."""

    __tablename__ = "deployment"
    __table_args__ = (sa.Index("ix_deployment_desired", "device", "model", "generation"),)

    rollout: str = Field(primary_key=True, foreign_key="rollout.id", sa_type=Name)
    device: str = Field(primary_key=True, foreign_key="device.id", sa_type=Name)
    model: str = Field(sa_type=Name)
    version: str = Field(sa_type=Name)
    generation: int = Field(sa_type=Whole)
    state: str = Field(sa_type=Name)
    updated_at: datetime = Field(sa_type=Utc)
    problem: str = Field(sa_type=Words)


_ROLLOUTS = SQLModel.metadata.tables["rollout"]
_DEPLOYMENTS = SQLModel.metadata.tables["deployment"]
_R, _D = _ROLLOUTS.c, _DEPLOYMENTS.c
_ROLLOUT_FIELDS = [field.name for field in fields(Rollout)]
_DEPLOYMENT_FIELDS = [field.name for field in fields(DeploymentRecord)]


class SqlRollouts:
    """Rollouts and deployments."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def add(self, rollout: Rollout, deployments: Sequence[DeploymentRecord]) -> None:
        """Insert both; raise `AlreadyExists` if the id, or the model's generation, is taken."""
        async with self._rows.all_or_nothing():
            await self._rows.change(sa.insert(_ROLLOUTS).values(_rollout_values(rollout)))
            if deployments:
                await self._rows.change(sa.insert(_DEPLOYMENTS), [_deployment_values(each) for each in deployments])

    async def get(self, rollout: RolloutId) -> Rollout | None:
        """Read one."""
        row = await self._rows.one(sa.select(_ROLLOUTS).where(_R.id == rollout))
        return None if row is None else _rollout(row)

    async def all(self, model: ModelName | None = None) -> tuple[Rollout, ...]:
        """List them, oldest first."""
        query = sa.select(_ROLLOUTS).order_by(_R.created_at, _R.id)
        if model is not None:
            query = query.where(_R.model == model)
        return tuple(_rollout(row) for row in await self._rows.all(query))

    async def save(self, rollout: Rollout) -> None:
        """Replace; raise `KeyError` if there is none of that id."""
        statement = sa.update(_ROLLOUTS).where(_R.id == rollout.id).values(_rollout_values(rollout))
        if not await self._rows.change(statement):
            raise KeyError(rollout.id)

    async def deployments(self, rollout: RolloutId) -> tuple[DeploymentRecord, ...]:
        """List a rollout's, by device."""
        query = sa.select(_DEPLOYMENTS).where(_D.rollout == rollout).order_by(_D.device)
        return tuple(_deployment(row) for row in await self._rows.all(query))

    async def desired(self, device: DeviceId) -> tuple[DeploymentRecord, ...]:
        """List what a device should have: per model, the deployment of the highest generation."""
        newest = (
            sa.select(_D.model, sa.func.max(_D.generation).label("generation"))
            .where(_D.device == device)
            .group_by(_D.model)
            .subquery()
        )
        is_newest = sa.and_(_D.model == newest.c.model, _D.generation == newest.c.generation)
        query = sa.select(_DEPLOYMENTS).join(newest, is_newest).where(_D.device == device).order_by(_D.model)
        return tuple(_deployment(row) for row in await self._rows.all(query))

    async def save_deployment(self, deployment: DeploymentRecord) -> None:
        """Insert, or replace."""
        await self._rows.upsert(_DEPLOYMENTS, _deployment_values(deployment))


def _rollout_values(rollout: Rollout) -> dict[str, object]:
    return {name: getattr(rollout, name) for name in _ROLLOUT_FIELDS} | {"state": rollout.state.value}


def _deployment_values(deployment: DeploymentRecord) -> dict[str, object]:
    return {name: getattr(deployment, name) for name in _DEPLOYMENT_FIELDS} | {"state": deployment.state.value}


def _rollout(row: Row) -> Rollout:
    values = row._asdict()
    return Rollout(**values | {"state": RolloutState(values["state"])})


def _deployment(row: Row) -> DeploymentRecord:
    values = row._asdict()
    return DeploymentRecord(**values | {"state": DeploymentState(values["state"])})
