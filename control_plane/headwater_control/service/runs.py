"""Use cases around runs: start, steer and show them."""

from collections import deque
from dataclasses import dataclass, replace

from headwater_wire.errors import Malformed
from headwater_wire.ids import RunId, check_name
from headwater_wire.manifest import OPTIMIZERS

from headwater_control.core.audit import deed
from headwater_control.core.figures import RoundMetrics, figures
from headwater_control.core.limits import objection
from headwater_control.core.models import Version
from headwater_control.core.rounds import Dropped, opened
from headwater_control.core.runs import NEWEST, Round, RoundState, Run, RunSpec, RunState, TaskRecord, TaskState
from headwater_control.core.training import training
from headwater_control.ports import Transaction
from headwater_control.service.authority import must_reach, sees
from headwater_control.service.bundles import ensure_bundle
from headwater_control.service.errors import Conflict, Invalid
from headwater_control.service.lookup import find_model, find_run, find_version, no_run
from headwater_control.service.rounds import deltas_of, drop
from headwater_control.service.spent import forget
from headwater_control.service.work import work
from headwater_control.service.world import World
from headwater_control.strategies import NAMES as STRATEGIES

PAGE = 1000  # rounds and tasks that are shown at once, but for one round with more: a run may have millions


@dataclass(frozen=True, slots=True)
class RoundView:
    """A round, who was asked and what came of it."""

    round: Round
    tasks: tuple[TaskRecord, ...]  # in selection order
    metrics: RoundMetrics


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with some of its rounds in a row, in their order."""

    run: Run
    rounds: tuple[RoundView, ...]


async def start(world: World, wanted: RunSpec) -> Run:
    """Start a run; raise `NotFound` (model, version), `Forbidden`, or `Invalid` (a number, a dataset no device has)."""
    _check(wanted)
    must_reach(wanted.cohort, "the run's cohort must have these labels")
    async with world.store.read() as tx:
        model = await find_model(tx, wanted.model)
        await _find_base(tx, wanted)
    await ensure_bundle(world, model, training(wanted))
    now = world.clock.now()
    async with work(world) as unit:
        base = await _find_base(unit.tx, wanted)
        spec = replace(wanted, base=base.id)
        await _check_dataset(unit.tx, spec)
        run = Run(RunId(world.ids.new("run")), spec, RunState.RUNNING, base.id, 1, now)
        await unit.tx.runs.add(run)
        await unit.tx.runs.save_round(opened(run, now))
        unit.deeds.append(deed("run.start", run.id, None, run))
        unit.runs_changed = True
    return run


async def pause(world: World, run: RunId) -> Run:
    """Open no new round; the open one is finished. Raises `NotFound`, or `Conflict` if the run has ended."""
    return await _steer(world, run, RunState.PAUSED, "run.pause")


async def resume(world: World, run: RunId) -> Run:
    """Go on after a pause. Raises `NotFound`, or `Conflict` if the run has ended."""
    return await _steer(world, run, RunState.RUNNING, "run.resume")


async def cancel(world: World, run: RunId, reason: str = "cancelled by an operator") -> Run:
    """End a run and its open tasks. Raises `NotFound`, or `Conflict` if the run has ended otherwise."""
    now = world.clock.now()
    async with work(world) as unit:
        found = await _find_to_change(unit.tx, run)
        if found.state is RunState.CANCELLED:
            return found
        if found.state.final:
            raise Conflict(f"run {run} has ended ({found.state}): there is nothing to cancel")
        record = await unit.tx.runs.round(run, found.round, lock=True)
        tasks = await unit.tx.tasks.of_round(run, found.round)
        why = f"the run was {reason}"
        waiting = [task for task in tasks if task.state is TaskState.OPEN]
        await drop(unit, [Dropped(task, TaskState.CANCELLED, why) for task in waiting], now)
        if record is not None and not record.state.final:
            over = replace(record, state=RoundState.ABANDONED, closed_at=now, reason=why)
            await unit.tx.runs.save_round(over)
        ended = replace(found, state=RunState.CANCELLED, reason=reason, ended_at=now)
        await unit.tx.runs.save(ended)
        unit.deeds.append(deed("run.cancel", run, found, ended))
        unit.rung.add(run)
        unit.runs_changed = True
    await forget(world, deltas_of(tasks))
    return ended


async def list_runs(world: World, states: tuple[RunState, ...] = ()) -> tuple[Run, ...]:
    """List runs, oldest first."""
    async with world.store.read() as tx:
        return tuple(run for run in await tx.runs.all(states) if sees(run.spec.cohort))


async def show_run(world: World, run: RunId, *, last: int = PAGE, before: int | None = None, least: int = 1) -> RunView:
    """Show a run with its newest rounds, or the newest `before` that one: `last`, or as many as a page has room for.

    But `least` of them, however large they are. Raise `NotFound`.
    """
    async with world.store.read() as tx:
        found = await find_run(tx, run)
        if not sees(found.spec.cohort):
            raise no_run(run)
        rounds: deque[RoundView] = deque()
        room = PAGE
        for number in range(found.round if before is None else min(before - 1, found.round), 0, -1):
            if len(rounds) == last:
                break
            if (record := await tx.runs.round(run, number)) is None:
                continue
            tasks = await tx.tasks.of_round(run, number)
            room -= 1 + len(tasks)
            if room < 0 and len(rounds) >= least:
                break
            rounds.appendleft(RoundView(record, tasks, figures(record, tasks)))
    return RunView(found, tuple(rounds))


async def _find_to_change(tx: Transaction, run: RunId) -> Run:
    found = await find_run(tx, run, lock=True)
    must_reach(found.spec.cohort, f"run {run} trains beyond that")
    return found


async def _steer(world: World, run: RunId, state: RunState, action: str) -> Run:
    async with work(world) as unit:
        found = await _find_to_change(unit.tx, run)
        if found.state.final:
            raise Conflict(f"run {run} has ended ({found.state}): start a new one instead")
        if found.state is state:
            return found
        steered = replace(found, state=state, reason="")
        await unit.tx.runs.save(steered)
        unit.deeds.append(deed(action, run, found, steered))
        unit.rung.add(run)
        unit.runs_changed = True
    return steered


def _check(spec: RunSpec) -> None:
    """Raise `Invalid` saying what makes no sense, and what would."""
    if problem := objection(spec):
        raise Invalid(problem)
    if spec.optimizer not in OPTIMIZERS:
        raise Invalid(f"there is no optimizer {spec.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
    if spec.strategy not in STRATEGIES:
        raise Invalid(f"there is no strategy {spec.strategy[:80]!r}: choose one of {', '.join(STRATEGIES)}")
    try:
        check_name(spec.dataset, "dataset")
        for key, value in spec.cohort:
            check_name(key, "label")
            check_name(value, "label value")
    except Malformed as error:
        raise Invalid(str(error)) from error


async def _find_base(tx: Transaction, wanted: RunSpec) -> Version:
    """Read the version to begin from; raise `NotFound`, or `Invalid` if it is another model's."""
    if wanted.base == NEWEST:
        return (await tx.models.versions(wanted.model))[-1]
    base = await find_version(tx, wanted.base)
    if base.model != wanted.model:
        raise Invalid(f"version {base.id} is of model {base.model}, not of {wanted.model}: choose another base")
    return base


async def _check_dataset(tx: Transaction, spec: RunSpec) -> None:
    """Raise `Invalid` if no registered device of the cohort has the dataset: the run would wait for ever."""
    devices = await tx.devices.matching(spec.cohort)
    if spec.cohort and not devices:
        wanted = ", ".join(f"{key}={value}" for key, value in spec.cohort)
        raise Invalid(f"no registered device has {wanted}: `headwater device list` shows their labels")
    if not devices:
        raise Invalid("no device is registered yet: start agents whose configuration names the dataset")
    names = {card.name for device in devices for card in device.datasets}
    if spec.dataset in names:
        return
    where = f"of the {len(devices)} registered devices" + (" in the cohort" if spec.cohort else "")
    known = f"they have: {', '.join(sorted(names))}" if names else "start agents whose configuration names one"
    raise Invalid(f"none {where} has a dataset named {spec.dataset} ({known})")
