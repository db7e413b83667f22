"""The tables and repository of models and their versions."""

from datetime import datetime

import sqlalchemy as sa
from headwater_wire.ids import Digest, ModelName, RunId, VersionId, version_id
from headwater_wire.messages import Blob
from sqlmodel import Field, SQLModel

from headwater_control.core.models import Model, Release, Version
from headwater_control.edges.store.columns import Name, Utc, Whole, Words
from headwater_control.edges.store.rows import Row, Rows


class ModelRow(SQLModel, table=True):
    """One model. `last_version` is the number of its newest version."""

    __tablename__ = "model"

    name: str = Field(primary_key=True, sa_type=Name)
    bundle_digest: str = Field(sa_type=Name)
    bundle_size: int = Field(sa_type=Whole)
    graph_digest: str = Field(sa_type=Name)
    graph_size: int = Field(sa_type=Whole)
    loss: str = Field(sa_type=Words)
    elements: int = Field(sa_type=Whole)
    created_at: datetime = Field(sa_type=Utc)
    last_version: int = Field(sa_type=Whole)


class VersionRow(SQLModel, table=True):
    """One version. An imported one has neither run nor round, and NULLs are never equal to each other."""

    __tablename__ = "version"
    __table_args__ = (
        sa.UniqueConstraint("model", "number", name="uq_version_model_number"),
        sa.UniqueConstraint("run", "round", name="uq_version_run_round"),
    )

    id: str = Field(primary_key=True, sa_type=Name)
    model: str = Field(foreign_key="model.name", sa_type=Name)
    number: int = Field(sa_type=Whole)
    parameters_digest: str = Field(sa_type=Name)
    parameters_size: int = Field(sa_type=Whole)
    parent: str | None = Field(sa_type=Name)
    run: str | None = Field(sa_type=Name)
    round: int | None = Field(sa_type=Whole)
    created_at: datetime = Field(sa_type=Utc)
    onnx_digest: str | None = Field(sa_type=Name)
    onnx_size: int | None = Field(sa_type=Whole)
    reference_digest: str | None = Field(sa_type=Name)
    reference_size: int | None = Field(sa_type=Whole)


_MODELS = SQLModel.metadata.tables["model"]
_VERSIONS = SQLModel.metadata.tables["version"]
_M, _V = _MODELS.c, _VERSIONS.c


class SqlModels:
    """Models and their versions."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def add(self, model: Model) -> None:
        """Insert; raise `AlreadyExists` if the name is taken."""
        async with self._rows.all_or_nothing():
            await self._rows.change(
                sa.insert(_MODELS).values(
                    name=model.name,
                    bundle_digest=model.bundle.digest,
                    bundle_size=model.bundle.size,
                    graph_digest=model.graph.digest,
                    graph_size=model.graph.size,
                    loss=model.loss,
                    elements=model.elements,
                    created_at=model.created_at,
                    last_version=0,
                )
            )

    async def get(self, name: ModelName) -> Model | None:
        """Read one."""
        row = await self._rows.one(sa.select(_MODELS).where(_M.name == name))
        return None if row is None else _model(row)

    async def all(self) -> tuple[Model, ...]:
        """List them by name."""
        return tuple(_model(row) for row in await self._rows.all(sa.select(_MODELS).order_by(_M.name)))

    async def add_version(
        self,
        model: ModelName,
        parameters: Blob,
        *,
        parent: VersionId | None,
        run: RunId | None,
        round_number: int | None,
        at: datetime,
    ) -> Version:
        """Insert the model's next version, numbered without gaps; raise `AlreadyExists` if (run, round) has one."""
        async with self._rows.all_or_nothing():
            count = sa.update(_MODELS).where(_M.name == model).values(last_version=_M.last_version + 1)
            counted = await self._rows.change_returning(count.returning(_M.last_version))  # and locks the model's row
            if not counted:
                raise KeyError(model)
            number = counted[0].last_version
            version = Version(version_id(model, number), model, number, parameters, parent, run, round_number, at)
            await self._rows.change(
                sa.insert(_VERSIONS).values(
                    id=version.id,
                    model=model,
                    number=number,
                    parameters_digest=parameters.digest,
                    parameters_size=parameters.size,
                    parent=parent,
                    run=run,
                    round=round_number,
                    created_at=at,
                )
            )
        return version

    async def version(self, version: VersionId) -> Version | None:
        """Read one."""
        row = await self._rows.one(sa.select(_VERSIONS).where(_V.id == version))
        return None if row is None else _version(row)

    async def versions(self, model: ModelName) -> tuple[Version, ...]:
        """List a model's, oldest first."""
        query = sa.select(_VERSIONS).where(_V.model == model).order_by(_V.number)
        return tuple(_version(row) for row in await self._rows.all(query))

    async def set_release(self, version: VersionId, release: Release) -> None:
        """Remember what was composed for a version; raise `KeyError` if there is none of that id."""
        values = {
            "onnx_digest": release.onnx.digest,
            "onnx_size": release.onnx.size,
            "reference_digest": release.reference.digest,
            "reference_size": release.reference.size,
        }
        if not await self._rows.change(sa.update(_VERSIONS).where(_V.id == version).values(values)):
            raise KeyError(version)


def _model(row: Row) -> Model:
    return Model(
        name=ModelName(row.name),
        bundle=Blob(Digest(row.bundle_digest), row.bundle_size),
        graph=Blob(Digest(row.graph_digest), row.graph_size),
        loss=row.loss,
        elements=row.elements,
        created_at=row.created_at,
    )


def _version(row: Row) -> Version:
    released = row.onnx_digest is not None
    return Version(
        id=VersionId(row.id),
        model=ModelName(row.model),
        number=row.number,
        parameters=Blob(Digest(row.parameters_digest), row.parameters_size),
        parent=row.parent,
        run=row.run,
        round=row.round,
        created_at=row.created_at,
        release=Release(
            Blob(Digest(row.onnx_digest), row.onnx_size), Blob(Digest(row.reference_digest), row.reference_size)
        )
        if released
        else None,
    )
