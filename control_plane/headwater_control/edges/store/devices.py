"""The fleet's table and repository."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from datetime import datetime

import sqlalchemy as sa
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Condition, DatasetCard, Inventory
from sqlmodel import Field, SQLModel

from headwater_control.core.fleet import Beat, Device
from headwater_control.edges.store.columns import LabelSet, Name, Record, Utc, Whole
from headwater_control.edges.store.rows import Rows
from headwater_control.ports import Labels

_IDS_PER_STATEMENT = 1_000  # both databases bind at most 32 thousand values


class DeviceRow(SQLModel, table=True):
    """One device."""

    __tablename__ = "device"

    id: str = Field(primary_key=True, sa_type=Name)
    registered_at: datetime = Field(sa_type=Utc)
    labels: Labels = Field(sa_type=LabelSet)
    inventory: Inventory = Field(sa_column=sa.Column(Record(Inventory), nullable=False))
    datasets: tuple[DatasetCard, ...] = Field(sa_column=sa.Column(Record(tuple[DatasetCard, ...]), nullable=False))
    engines: tuple[str, ...] = Field(sa_column=sa.Column(Record(tuple[str, ...]), nullable=False))
    unconfined: tuple[str, ...] = Field(
        sa_column=sa.Column(Record(tuple[str, ...]), nullable=False, server_default="[]")
    )
    conditions: tuple[Condition, ...] = Field(
        sa_column=sa.Column(Record(tuple[Condition, ...]), nullable=False, server_default="[]")
    )
    hello_hash: str = Field(sa_type=Name)
    revision: int = Field(sa_type=Whole)
    held_revision: int = Field(sa_type=Whole)
    epoch: int = Field(sa_type=Whole)
    seq: int = Field(sa_type=Whole)
    online: bool
    presence_at: datetime | None = Field(sa_type=Utc)
    last_seen: datetime | None = Field(sa_type=Utc)
    late: int = Field(sa_column=sa.Column(Whole, nullable=False, server_default="0"))


_TABLE = SQLModel.metadata.tables["device"]
_C = _TABLE.c
_FIELDS = [field.name for field in fields(Device)]
_QUERY = sa.select(*(_C[name] for name in _FIELDS))  # in the record's order


class SqlDevices:
    """The fleet."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def get(self, device: DeviceId, *, lock: bool = False) -> Device | None:
        """Read one; with `lock` nobody else changes it until the transaction ends."""
        row = await self._rows.one(_QUERY.where(_C.id == device), lock=lock)
        return None if row is None else Device(*row)

    async def several(self, devices: Collection[DeviceId], *, lock: bool = False) -> dict[DeviceId, Device]:
        """Read many at once; those that are not there are left out. `lock` takes them in order of id."""
        found: dict[DeviceId, Device] = {}
        for among in _among(devices):
            query = _QUERY.where(among).order_by(_C.id)
            rows = (await self._rows.lock(query)).all() if lock else await self._rows.all(query)
            found.update({DeviceId(row.id): Device(*row) for row in rows})
        return found

    async def save(self, device: Device) -> None:
        """Insert, or replace."""
        await self._rows.upsert(_TABLE, {name: getattr(device, name) for name in _FIELDS})

    async def matching(self, labels: Labels = ()) -> tuple[Device, ...]:
        """List those that have all of `labels`, by id."""
        query = _QUERY.order_by(_C.id)
        for key, value in labels:
            query = query.where(_C.labels[key].as_string() == value)
        return tuple(Device(*row) for row in await self._rows.all(query))

    async def touch(self, beats: Sequence[Beat]) -> None:
        """Note signs of life, many at once; a newer epoch begins its presence anew, an older one changes none."""
        if not beats:
            return
        in_order = sorted(beats, key=lambda beat: beat.device)  # two replicas then never wait for each other
        await self._rows.change(
            _TOUCH, [{"device": b.device, "b_epoch": b.epoch, "b_revision": b.revision, "at": b.at} for b in in_order]
        )

    async def raise_revision(self, devices: Collection[DeviceId]) -> dict[DeviceId, int]:
        """Count one more change meant for each; return the new revisions."""
        raised: dict[DeviceId, int] = {}
        for among in _among(devices):
            if self._rows.on_postgres:  # an UPDATE locks in no order, and two of them could wait for each other
                await self._rows.lock(sa.select(_C.id).where(among).order_by(_C.id))
            statement = sa.update(_TABLE).where(among).values(revision=_C.revision + 1)
            rows = await self._rows.change_returning(statement.returning(_C.id, _C.revision))
            raised.update({DeviceId(row.id): row.revision for row in rows})
        return raised


def _among(devices: Collection[DeviceId]) -> Iterator[sa.ColumnElement[bool]]:
    ids = sorted(set(devices))
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        yield _C.id.in_(ids[start : start + _IDS_PER_STATEMENT])


def _touch() -> sa.Update:
    epoch, at = sa.bindparam("b_epoch", type_=Whole), sa.bindparam("at", type_=Utc)
    newer = _C.epoch < epoch
    # What was heard before a goodbye, and is only written after it, brings nobody back.
    later = sa.or_(_C.presence_at.is_(None), _C.presence_at <= at)
    current = sa.or_(newer, sa.and_(_C.epoch == epoch, later))
    return (
        sa.update(_TABLE)
        .where(_C.id == sa.bindparam("device", type_=Name))
        .values(
            last_seen=sa.case((_C.last_seen > at, _C.last_seen), else_=at),
            held_revision=sa.bindparam("b_revision", type_=Whole),
            epoch=sa.case((newer, epoch), else_=_C.epoch),
            seq=sa.case((newer, 0), else_=_C.seq),
            online=sa.or_(_C.online, current),
            presence_at=sa.case((sa.and_(sa.not_(_C.online), current), at), else_=_C.presence_at),
        )
    )


_TOUCH = _touch()
