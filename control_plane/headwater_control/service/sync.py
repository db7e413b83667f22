"""The use case behind Gateway.Sync: the agent says what it holds; the answer is what it should hold."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from headwater_wire.eras import next_era
from headwater_wire.ids import DeviceId, TaskId
from headwater_wire.messages import Evaluated, Failed, Progress, Rejected, SyncAnswer, SyncRequest, TaskReport

from headwater_control.core.fleet import Beat, Device
from headwater_control.core.runs import TaskRecord, TaskState
from headwater_control.service.assignments import spell_tasks
from headwater_control.service.deltas import implausible
from headwater_control.service.deployments import desired, note_reports
from headwater_control.service.devices import Registration, take_in
from headwater_control.service.work import Work, work
from headwater_control.service.world import World

_NO_REVISION = 1 << 62  # from here on: what no control plane has told


async def sync(world: World, request: SyncRequest) -> SyncAnswer:
    """Apply the reports, commit, answer. May be repeated: what was reported before changes nothing."""
    return (await syncs(world, [request]))[0]


async def syncs(world: World, requests: Sequence[SyncRequest]) -> tuple[SyncAnswer, ...]:
    """Do so for many devices in one transaction: a fleet that comes back at once costs few commits."""
    now = world.clock.now()
    async with work(world) as unit:
        # Tasks, devices, deployments, as everywhere: see docs/adr/0003-store.md. Locked first, a device is told a
        # revision that says neither more nor less than the rest of its answer.
        await unit.tx.tasks.lock({task for request in requests for task in _named(request)})
        known = await unit.tx.devices.several({request.device for request in requests}, lock=True)
        answers = [await _answer(world, unit, request, known.get(request.device), now) for request in requests]
        beats = [Beat(each.device, each.epoch, each.revision, now) for each in requests if each.device in known]
        await unit.tx.devices.touch(beats)
    return tuple(answers)


def _named(request: SyncRequest) -> set[TaskId]:
    """Name the tasks that a request may change."""
    return {report.task for report in request.reports} | {held.task for held in request.held}


async def _answer(world: World, unit: Work, request: SyncRequest, device: Device | None, now: datetime) -> SyncAnswer:
    answer = SyncAnswer(
        revision=request.revision,  # so that it shows it again once it is known, and what it knows more is noticed
        server_time_ms=int(now.timestamp() * 1000),
        epoch=request.epoch,
        hello_wanted=True,
        tasks=(),
        deployments=(),
        heartbeat_s=world.settings.heartbeat_idle_s,
    )
    shown = None if world.settings.broker_vouches else request.hello
    if shown is not None and (device is None or device.hello_hash != request.hello_hash):
        await take_in(world, unit, Registration(request.device, shown, request.hello_hash))
        device = await unit.tx.devices.get(request.device, lock=True)
    if device is None:
        return answer
    unit.fleet_changed |= not device.online
    await _take_reports(unit, device.id, request, now)
    await note_reports(unit, device.id, request.deployments, now)
    records = await unit.tx.tasks.open_of(device.id)
    await unit.tx.tasks.note(_news(device.id, request, records), now)
    return replace(
        answer,
        revision=await _agreed(unit, device, request.revision),
        epoch=max(device.epoch, request.epoch),
        hello_wanted=device.hello_hash != request.hello_hash,
        tasks=await spell_tasks(unit.tx, records),
        deployments=await desired(world, unit.tx, device.id),
        heartbeat_s=world.settings.heartbeat_busy_s if records else world.settings.heartbeat_idle_s,
    )


async def _agreed(unit: Work, device: Device, shown: int) -> int:
    """Give a locked device's revision; one that shows a later one was told it by a lost database: an era begins."""
    if not device.revision < shown < _NO_REVISION:
        return device.revision
    begun = replace(device, revision=next_era(shown))
    await unit.tx.devices.save(begun)
    return begun.revision


def _news(
    device: DeviceId, request: SyncRequest, records: tuple[TaskRecord, ...]
) -> tuple[tuple[DeviceId, Progress], ...]:
    """Give the phases that Sync shows and the store does not have; a heartbeat's steps are not overwritten."""
    phases = {held.task: held.phase for held in request.held}
    return tuple(
        (device, Progress(record.id, phases[record.id], record.step, record.steps, record.loss))
        for record in records
        if record.id in phases and phases[record.id] is not record.phase
    )


async def _take_reports(unit: Work, device: DeviceId, request: SyncRequest, now: datetime) -> None:
    """Take reports in, those on open tasks of this device, one of each: what else it tells costs nobody a look."""
    if not request.reports:
        return
    told = {report.task: report for report in reversed(request.reports)}  # the first on a task counts
    for task in sorted(await unit.tx.tasks.open_of(device), key=lambda task: task.id):
        if task.id in told:
            await _apply(unit, told[task.id], now)


async def _apply(unit: Work, report: TaskReport, now: datetime) -> None:
    """End a reported task, if it is still open."""
    tasks = unit.tx.tasks
    task = await tasks.get(report.task, lock=True)
    if task is None or task.state is not TaskState.OPEN:
        return
    match report.outcome:
        case Failed(reason):
            await tasks.close(task.id, TaskState.FAILED, at=now, reason=reason)
        case Rejected(reason):
            await tasks.close(task.id, TaskState.REJECTED, at=now, reason=reason)
        case Evaluated(metrics):
            record = await unit.tx.runs.round(task.run, task.round)
            problem = implausible(metrics)
            if record is None or not record.evaluate:
                problem = "it reported a score where a delta was asked for"
            if problem:
                await tasks.close(task.id, TaskState.FAILED, at=now, reason=problem)
            else:
                await tasks.close(task.id, TaskState.SUCCEEDED, at=now, metrics=metrics)
                unit.reported.append(task.run)
                return
    unit.rung.add(task.run)
