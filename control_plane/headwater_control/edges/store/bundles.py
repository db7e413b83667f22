"""The table and repository of bundles."""

import sqlalchemy as sa
from headwater_wire.ids import Digest, ModelName
from headwater_wire.messages import Blob
from sqlmodel import Field, SQLModel

from headwater_control.core.models import Bundle
from headwater_control.edges.store.columns import Name, Record, Whole
from headwater_control.edges.store.rows import Rows


class BundleRow(SQLModel, table=True):
    """One way to train a model. `files` are small in number, and needed all at once."""

    __tablename__ = "bundle"

    model: str = Field(foreign_key="model.name", primary_key=True, sa_type=Name)
    training: str = Field(primary_key=True, sa_type=Name)
    digest: str = Field(sa_type=Name)
    size: int = Field(sa_type=Whole)
    files: tuple[Blob, ...] = Field(sa_column=sa.Column(Record(tuple[Blob, ...]), nullable=False))


_TABLE = SQLModel.metadata.tables["bundle"]
_C = _TABLE.c


class SqlBundles:
    """Bundles."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def add(self, bundle: Bundle) -> None:
        """Insert, or replace."""
        values = {
            "model": bundle.model,
            "training": bundle.training,
            "digest": bundle.manifest.digest,
            "size": bundle.manifest.size,
            "files": bundle.files,
        }
        await self._rows.upsert(_TABLE, values)

    async def get(self, model: ModelName, training: str) -> Bundle | None:
        """Read one."""
        row = await self._rows.one(sa.select(_TABLE).where(_C.model == model, _C.training == training))
        if row is None:
            return None
        return Bundle(ModelName(row.model), row.training, Blob(Digest(row.digest), row.size), row.files)

    async def blobs(self) -> frozenset[Digest]:
        """Name every blob of every bundle."""
        rows = await self._rows.all(sa.select(_C.digest, _C.files))
        return frozenset(digest for row in rows for digest in (row.digest, *(blob.digest for blob in row.files)))
