"""The tables and repository of the audit log."""

from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from headwater_control.core.audit import START, Caller, Deed, Entry, Head, sealed
from headwater_control.edges.store.columns import Name, Utc, Whole, Words
from headwater_control.edges.store.rows import Row, Rows
from headwater_control.ports import AlreadyExists


class AuditRow(SQLModel, table=True):
    """One entry."""

    __tablename__ = "audit"

    number: int = Field(primary_key=True, sa_type=Whole, sa_column_kwargs={"autoincrement": False})
    at: datetime = Field(sa_type=Utc)
    who: str = Field(sa_type=Name)
    source: str = Field(sa_type=Name)
    request: str = Field(sa_type=Name)
    action: str = Field(sa_type=Name)
    subject: str = Field(sa_type=Name)
    before: str = Field(sa_type=Words)
    after: str = Field(sa_type=Words)
    previous: str = Field(sa_type=Name)
    digest: str = Field(sa_type=Name)


class AuditHeadRow(SQLModel, table=True):
    """The end of the chain, in the only row: its lock gives the chain one order, and a lost last entry is missed."""

    __tablename__ = "audit_head"

    only: int = Field(primary_key=True, sa_type=Whole, sa_column_kwargs={"autoincrement": False})
    number: int = Field(sa_type=Whole)
    digest: str = Field(sa_type=Name)


_ENTRIES = SQLModel.metadata.tables["audit"]
_HEAD = SQLModel.metadata.tables["audit_head"]
_E = _ENTRIES.c
_FIND_HEAD = sa.select(_HEAD.c.number, _HEAD.c.digest)


class SqlAudit:
    """The audit log."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def append(self, done: Deed, caller: Caller, at: datetime) -> Entry:
        """Add the next entry of the chain; raise `RuntimeError` if the tables have been tampered with."""
        head = await self._rows.one(_FIND_HEAD, lock=True)
        if head is None:
            raise _tampered("its head is missing")
        entry = sealed(_head(head), done, caller, at)
        try:
            await self._rows.change(sa.insert(_ENTRIES).values(asdict(entry)))
        except AlreadyExists as error:
            raise _tampered(f"there is an entry {entry.number} already") from error
        await self._rows.change(sa.update(_HEAD).values(asdict(entry.head)))
        return entry

    async def entries(self, after: int, limit: int) -> tuple[Entry, ...]:
        """List up to `limit` of those numbered above `after`, oldest first."""
        query = sa.select(_ENTRIES).where(_E.number > after).order_by(_E.number).limit(limit)
        return tuple(_entry(row) for row in await self._rows.all(query))

    async def head(self) -> Head:
        """Say where the chain ends; at its start, if the row is missing."""
        row = await self._rows.one(_FIND_HEAD)
        return START if row is None else _head(row)


def _head(row: Row) -> Head:
    return Head(row.number, row.digest)


def _entry(row: Row) -> Entry:
    return Entry(**row._asdict())


def _tampered(how: str) -> RuntimeError:
    return RuntimeError(f"somebody changed the audit log behind the control plane's back: {how}. Nothing is changed")
