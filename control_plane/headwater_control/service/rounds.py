"""Applies what the plan decides: each decision in one transaction that checks again, under lock, that it still holds.

A decision that comes twice or too late changes nothing. Writes carry the leader's fencing token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from headwater_wire.crashpoint import crashpoint
from headwater_wire.ids import DeviceId, Digest, RunId, TaskId

from headwater_control.core.models import Version
from headwater_control.core.rounds import (
    ABANDONED_IN_A_ROW,
    Ask,
    AskMore,
    Close,
    Decision,
    Dropped,
    Merge,
    Open,
    Wait,
    abandoned,
    close,
    merged,
    opened,
    spoiled,
)
from headwater_control.core.runs import Round, RoundState, Run, RunState, TaskRecord, TaskState
from headwater_control.core.scheduler import Draw
from headwater_control.core.training import training
from headwater_control.ports import MergeJob, OffloadFailed, Transaction, Unusable
from headwater_control.service.assignments import spell_tasks
from headwater_control.service.damage import damage, of_bundle, of_version
from headwater_control.service.lookup import find_bundle, find_run, find_version
from headwater_control.service.work import Work, work
from headwater_control.service.workspace import workspace
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class Lead:
    """Who applies, and to which round: a decision about another one is late."""

    run: RunId
    round: int
    token: int


async def apply(world: World, lead: Lead, decision: Decision) -> frozenset[Digest]:
    """Carry a decision out; give the deltas that nobody needs any more. Raises `Fenced` when another one leads."""
    match decision:
        case Open():
            await _open(world, lead)
        case Wait(reason):
            await _wait(world, lead, reason)
        case Ask(draw):
            await _ask(world, lead, draw)
        case AskMore(devices):
            await _ask_more(world, lead, devices)
        case Close(why, dropped):
            return await _close(world, lead, why, dropped)
        case Merge():
            return await _merge(world, lead)
    return frozenset()


def deltas_of(tasks: Sequence[TaskRecord]) -> frozenset[Digest]:
    """Name the deltas that tasks delivered."""
    return frozenset(task.delta.digest for task in tasks if task.delta)


async def drop(unit: Work, dropped: Sequence[Dropped], at: datetime) -> None:
    """End tasks and tell their devices, unless they ended by themselves meanwhile."""
    for item in sorted(dropped, key=lambda item: item.task.id):  # so that nobody waits for us who has what we want
        task = item.task
        if await unit.tx.tasks.close(task.id, item.state, at=at, reason=item.reason):
            unit.withdraw(task.device, task.id, item.reason)


async def _current(tx: Transaction, lead: Lead, *states: RoundState) -> tuple[Run, Round] | None:
    """Lock the run and the round; None if the round has moved on, so that a decision about it is late."""
    run = await find_run(tx, lead.run, lock=True)
    record = await tx.runs.round(lead.run, lead.round, lock=True)
    if record is None or record.state not in states:
        return None
    return run, record


async def _open(world: World, lead: Lead) -> None:
    async with work(world) as unit:
        run = await find_run(unit.tx, lead.run, lock=True)
        known = await unit.tx.runs.round(lead.run, lead.round, lock=True)
        if known is None and run.state is RunState.RUNNING and run.round == lead.round:
            await unit.tx.runs.save_round(opened(run, world.clock.now()), token=lead.token)
            unit.rung.add(run.id)


async def _wait(world: World, lead: Lead, reason: str) -> None:
    async with work(world) as unit:
        if (current := await _current(unit.tx, lead, RoundState.SELECTING)) is None:
            return
        run, record = current
        await unit.tx.runs.save_round(replace(record, reason=reason), token=lead.token)
        await unit.tx.runs.save(replace(run, reason=reason), token=lead.token)
        unit.rung.add(run.id)


async def _ask(world: World, lead: Lead, draw: Draw) -> None:
    problem = await _unfit(world, lead)
    now = world.clock.now()
    async with work(world) as unit:
        current = await _current(unit.tx, lead, RoundState.SELECTING)
        if current is None or current[0].state is not RunState.RUNNING:
            return
        run, record = current
        if problem:
            await _save(unit, lead, *spoiled(run, record, problem, now), now)
            return
        record = replace(
            record,
            state=RoundState.COLLECTING,
            target=draw.target,
            quorum=draw.quorum,
            deadline=now + timedelta(seconds=run.spec.round_deadline_s),
            reason="",
        )
        await unit.tx.runs.save_round(record, token=lead.token)
        await unit.tx.runs.save(replace(run, reason=""), token=lead.token)
        await _add_tasks(world, unit, record, draw.devices, 0, now)


async def _ask_more(world: World, lead: Lead, devices: Sequence[DeviceId]) -> None:
    now = world.clock.now()
    async with work(world) as unit:
        if (current := await _current(unit.tx, lead, RoundState.COLLECTING)) is None:
            return
        run, record = current
        await unit.tx.runs.save(run, token=lead.token)  # unchanged: only a leader may add tasks
        known = await unit.tx.tasks.of_round(lead.run, lead.round)
        asked = {task.device for task in known}
        fresh = [device for device in devices if device not in asked]
        await _add_tasks(world, unit, record, fresh, len(known), now)


async def _add_tasks(
    world: World, unit: Work, record: Round, devices: Sequence[DeviceId], first: int, now: datetime
) -> None:
    assert record.deadline is not None
    tasks = [
        TaskRecord(
            id=TaskId(world.ids.new("task")),
            run=record.run,
            round=record.number,
            device=device,
            order=order,
            state=TaskState.OPEN,
            opened_at=now,
            deadline=record.deadline,
        )
        for order, device in enumerate(devices, first)
    ]
    await unit.tx.tasks.add(tasks)
    for task in await spell_tasks(unit.tx, tasks):
        unit.assign(task)
    unit.rung.add(record.run)


async def _close(world: World, lead: Lead, why: str, dropped: Sequence[Dropped]) -> frozenset[Digest]:
    """End collecting. Closing what is open first fixes the set: no delta can be committed to it any more."""
    now = world.clock.now()
    async with work(world) as unit:
        if (current := await _current(unit.tx, lead, RoundState.COLLECTING)) is None:
            return frozenset()
        foreseen = {item.task.id: item for item in dropped}
        waiting = [task for task in await unit.tx.tasks.of_round(lead.run, lead.round) if task.state is TaskState.OPEN]
        late = (Dropped(task, TaskState.CANCELLED, "the round closed without it") for task in waiting)
        await drop(unit, [foreseen.get(item.task.id, item) for item in late], now)
        tasks = await unit.tx.tasks.of_round(lead.run, lead.round)
        run, record = close(*current, tasks, await _before(unit.tx, lead), why, now)
        crashpoint("control.collecting")
        await _save(unit, lead, run, record, now)
    return deltas_of(tasks) if record.state.final else frozenset()


async def _merge(world: World, lead: Lead) -> frozenset[Digest]:
    """Fold the frozen deltas and commit the version. Cut short, it is done again, with the same bits."""
    async with world.store.read() as tx:
        run = await find_run(tx, lead.run)
        record = await tx.runs.round(lead.run, lead.round)
        if record is None or record.state is not RoundState.MERGING:
            return frozenset()
        base = await find_version(tx, record.base)
        tasks = await tx.tasks.of_round(lead.run, lead.round)
    problem = ""
    with workspace(world.settings.work_dir) as folder:
        out_path = folder / "merged.safetensors"
        try:
            if not (problem := await _damage(world, base, record, tasks)):
                await world.offload.merge(_job(world, run, record, base.parameters.digest, tasks, out_path))
                parameters = await world.blobs.adopt(out_path)
        except Unusable as error:
            problem = f"the deltas can't be merged: {error}"
        except (OffloadFailed, KeyError):
            if await _merges(world, lead):
                raise
            return frozenset()  # cancelled meanwhile, and who cancels a run takes its deltas away
    crashpoint("control.merging")
    now = world.clock.now()
    async with work(world) as unit:
        if (current := await _current(unit.tx, lead, RoundState.MERGING)) is None:
            return frozenset()
        if problem:
            run, record = abandoned(*current, await _before(unit.tx, lead), problem, now)
        else:
            version = await unit.tx.models.add_version(
                run.spec.model, parameters, parent=record.base, run=run.id, round_number=record.number, at=now
            )
            run, record = merged(*current, version.id, now)
        await _save(unit, lead, run, record, now)
    crashpoint("control.round.committed")
    return deltas_of(tasks)


async def _merges(world: World, lead: Lead) -> bool:
    async with world.store.read() as tx:
        record = await tx.runs.round(lead.run, lead.round)
    return record is not None and record.state is RoundState.MERGING


async def _damage(world: World, base: Version, record: Round, tasks: Sequence[TaskRecord]) -> str:
    """Say which of a merge's inputs the control plane's own disk has damaged or lost since they were stored."""
    frozen = [task for task in tasks if task.delta and task.id in record.frozen]
    deltas = {task.delta.digest: f"the delta of {task.device}" for task in frozen if task.delta}
    return await damage(world, deltas | of_version(base))


async def _unfit(world: World, lead: Lead) -> str:
    """Say which of what a round's devices would fetch is damaged or lost: each of them would fetch it over and over.

    It is looked at anew for each round: of what lies on a disk for weeks, an earlier look tells nothing, and what is
    read now is in memory when the first of them asks for it.
    """
    async with world.store.read() as tx:
        record = await tx.runs.round(lead.run, lead.round)
        if record is None:
            return ""
        spec = (await find_run(tx, lead.run)).spec
        bundle = await find_bundle(tx, spec.model, training(spec))
        base = await find_version(tx, record.base)
    return await damage(world, of_bundle(bundle) | of_version(base))


def _job(world: World, run: Run, record: Round, base: Digest, tasks: Sequence[TaskRecord], out_path: Path) -> MergeJob:
    """Spell the merge out, in the frozen order."""
    by_id = {task.id: task for task in tasks}
    deltas = []
    for name in record.frozen:
        task = by_id[name]
        assert task.delta is not None
        assert task.metrics is not None
        deltas.append((world.blobs.path(task.delta.digest), task.metrics.examples))
    return MergeJob(run.spec.strategy, world.blobs.path(base), tuple(deltas), by_id[record.frozen[0]].codec, out_path)


async def _save(unit: Work, lead: Lead, run: Run, record: Round, now: datetime) -> None:
    """Write a round's end and what follows: the next round, if there is one and the run is not paused."""
    await unit.tx.runs.save_round(record, token=lead.token)
    await unit.tx.runs.save(run, token=lead.token)
    if run.round != record.number and run.state is RunState.RUNNING:
        await unit.tx.runs.save_round(opened(run, now), token=lead.token)
    unit.rung.add(run.id)
    unit.runs_changed = run.state.final


async def _before(tx: Transaction, lead: Lead) -> tuple[Round, ...]:
    """Read the few rounds that decide whether too many in a row were abandoned."""
    first = max(1, lead.round - ABANDONED_IN_A_ROW + 1)
    found = [await tx.runs.round(lead.run, number) for number in range(first, lead.round)]
    return tuple(record for record in found if record is not None)
