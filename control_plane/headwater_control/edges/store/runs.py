"""The tables and repository of runs and rounds, with the leader's lease."""

from collections.abc import Collection
from dataclasses import fields
from datetime import datetime, timedelta

import sqlalchemy as sa
from headwater_wire.ids import RunId, TaskId
from sqlmodel import Field, SQLModel

from headwater_control.core.runs import Round, RoundState, Run, RunSpec, RunState
from headwater_control.edges.store.columns import Name, Record, Utc, Whole, Words
from headwater_control.edges.store.rows import Row, Rows
from headwater_control.ports import Fenced


class RunRow(SQLModel, table=True):
    """One run; `leader`, `lease_until` and the fencing `token` are for its coordinators only."""

    __tablename__ = "run"

    id: str = Field(primary_key=True, sa_type=Name)
    spec: RunSpec = Field(sa_column=sa.Column(Record(RunSpec), nullable=False))
    state: str = Field(sa_type=Name, index=True)
    version: str = Field(foreign_key="version.id", sa_type=Name)
    round: int = Field(sa_type=Whole)
    created_at: datetime = Field(sa_type=Utc)
    reason: str = Field(sa_type=Words)
    ended_at: datetime | None = Field(sa_type=Utc)
    leader: str | None = Field(sa_type=Name)
    lease_until: datetime | None = Field(sa_type=Utc)
    token: int = Field(sa_type=Whole)


class RoundRow(SQLModel, table=True):
    """One round."""

    __tablename__ = "round"

    run: str = Field(primary_key=True, foreign_key="run.id", sa_type=Name)
    number: int = Field(primary_key=True, sa_type=Whole)
    state: str = Field(sa_type=Name)
    base: str = Field(sa_type=Name)
    evaluate: bool
    opened_at: datetime = Field(sa_type=Utc)
    target: int = Field(sa_type=Whole)
    quorum: int = Field(sa_type=Whole)
    deadline: datetime | None = Field(sa_type=Utc)
    frozen: tuple[TaskId, ...] = Field(sa_column=sa.Column(Record(tuple[TaskId, ...]), nullable=False))
    merged: str | None = Field(sa_type=Name)
    collected_at: datetime | None = Field(sa_type=Utc)
    closed_at: datetime | None = Field(sa_type=Utc)
    reason: str = Field(sa_type=Words)


_RUNS = SQLModel.metadata.tables["run"]
_ROUNDS = SQLModel.metadata.tables["round"]
_R, _N = _RUNS.c, _ROUNDS.c
_RUN_FIELDS = [field.name for field in fields(Run)]
_ROUND_FIELDS = [field.name for field in fields(Round)]
_RUN_QUERY = sa.select(*(_R[name] for name in _RUN_FIELDS))
_ROUND_QUERY = sa.select(*(_N[name] for name in _ROUND_FIELDS))


class SqlRuns:
    """Runs and rounds. Writes by a leader carry its fencing token; an overtaken one raises `Fenced`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def add(self, run: Run) -> None:
        """Insert; raise `AlreadyExists` if the id is taken."""
        async with self._rows.all_or_nothing():
            await self._rows.change(sa.insert(_RUNS).values(**_values(run), token=0))

    async def get(self, run: RunId, *, lock: bool = False) -> Run | None:
        """Read one."""
        row = await self._rows.one(_RUN_QUERY.where(_R.id == run), lock=lock)
        return None if row is None else _run(row)

    async def all(self, states: Collection[RunState] = ()) -> tuple[Run, ...]:
        """List those in one of `states` (all, if none is given), oldest first."""
        query = _RUN_QUERY.order_by(_R.created_at, _R.id)
        if states:
            query = query.where(_R.state.in_([state.value for state in states]))
        return tuple(_run(row) for row in await self._rows.all(query))

    async def save(self, run: Run, *, token: int | None = None) -> None:
        """Replace, but for who leads it; raise `KeyError` if there is none of that id."""
        statement = sa.update(_RUNS).where(_R.id == run.id).values(_values(run))
        if token is not None:
            statement = statement.where(_R.token == token)
        if not await self._rows.change(statement):
            await self._check_leads(run.id, token)
            raise KeyError(run.id)

    async def lead(self, run: RunId, holder: str, now: datetime, ttl_s: float) -> int | None:
        """Take or renew the lease on a run: the fencing token, or None while another holder's lease lasts.

        The token changes when the holder does, so `holder` must name one process, not a machine.
        """
        free = sa.or_(_R.leader.is_(None), _R.leader == holder, _R.lease_until <= now)
        taken = await self._rows.change_returning(
            sa.update(_RUNS)
            .where(_R.id == run, free)
            .values(
                token=sa.case((_R.leader == holder, _R.token), else_=_R.token + 1),
                leader=holder,
                lease_until=now + timedelta(seconds=ttl_s),
            )
            .returning(_R.token)
        )
        if taken:
            return int(taken[0].token)
        if await self._rows.one(sa.select(_R.id).where(_R.id == run)) is None:
            raise KeyError(run)
        return None

    async def round(self, run: RunId, number: int, *, lock: bool = False) -> Round | None:
        """Read one round."""
        row = await self._rows.one(_ROUND_QUERY.where(_N.run == run, _N.number == number), lock=lock)
        return None if row is None else _round(row)

    async def rounds(self, run: RunId) -> tuple[Round, ...]:
        """List a run's, first to last."""
        query = _ROUND_QUERY.where(_N.run == run).order_by(_N.number)
        return tuple(_round(row) for row in await self._rows.all(query))

    async def save_round(self, record: Round, *, token: int | None = None) -> None:
        """Insert, or replace."""
        await self._check_leads(record.run, token)
        values = {name: getattr(record, name) for name in _ROUND_FIELDS}
        await self._rows.upsert(_ROUNDS, values | {"state": record.state.value})

    async def _check_leads(self, run: RunId, token: int | None) -> None:
        # Locked, so that nobody overtakes between this look and the commit.
        if token is None:
            return
        row = await self._rows.one(sa.select(_R.token).where(_R.id == run), lock=True)
        if row is not None and row.token != token:
            raise Fenced(f"token {token} no longer leads run {run} (now {row.token} does): stop leading it")


def _values(run: Run) -> dict[str, object]:
    return {name: getattr(run, name) for name in _RUN_FIELDS} | {"state": run.state.value}


def _run(row: Row) -> Run:
    values = row._asdict()
    return Run(**values | {"state": RunState(values["state"])})


def _round(row: Row) -> Round:
    values = row._asdict()
    return Round(**values | {"state": RoundState(values["state"])})
