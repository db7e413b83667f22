"""The use case behind Gateway.Sync: the agent says what it holds; the answer is what it should hold."""

from dataclasses import replace
from datetime import datetime

from headwater_wire.ids import DeviceId
from headwater_wire.messages import Evaluated, Failed, Progress, Rejected, SyncAnswer, SyncRequest, TaskReport

from headwater_control.core.fleet import Beat
from headwater_control.core.runs import TaskRecord, TaskState
from headwater_control.service.assignments import spell_tasks
from headwater_control.service.deltas import implausible
from headwater_control.service.deployments import desired, note_report
from headwater_control.service.work import Work, work
from headwater_control.service.world import World


async def sync(world: World, request: SyncRequest) -> SyncAnswer:
    """Apply the reports, commit, answer. May be repeated: what was reported before changes nothing."""
    now = world.clock.now()
    answer = SyncAnswer(
        revision=0,
        server_time_ms=int(now.timestamp() * 1000),
        epoch=request.epoch,
        hello_wanted=True,
        tasks=(),
        deployments=(),
        heartbeat_s=world.settings.heartbeat_idle_s,
    )
    async with work(world) as unit:
        # Read first: a revision older than the rest of the answer heals, a newer one would hide what it lacks.
        device = await unit.tx.devices.get(request.device)
        if device is None:
            return answer
        unit.fleet_changed = not device.online
        for report in sorted(request.reports, key=lambda report: report.task):
            await _apply(unit, device.id, report, now)
        for deployment in request.deployments:
            await note_report(unit, device.id, deployment, now)
        records = await unit.tx.tasks.open_of(device.id)
        await unit.tx.tasks.note(_news(device.id, request, records), now)
        await unit.tx.devices.touch([Beat(device.id, request.epoch, request.revision, now)])  # tasks before devices
        return replace(
            answer,
            revision=device.revision,
            epoch=max(device.epoch, request.epoch),
            hello_wanted=device.hello_hash != request.hello_hash,
            tasks=await spell_tasks(unit.tx, records),
            deployments=await desired(world, unit.tx, device.id),
            heartbeat_s=world.settings.heartbeat_busy_s if records else world.settings.heartbeat_idle_s,
        )


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


async def _apply(unit: Work, device: DeviceId, report: TaskReport, now: datetime) -> None:
    """End the reported task, if it is this device's and still open."""
    tasks = unit.tx.tasks
    task = await tasks.get(report.task, lock=True)
    if task is None or task.device != device or task.state is not TaskState.OPEN:
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
