"""The use cases behind uploads and fetches: a delta in, exactly once; blobs out, to those who need them."""

from dataclasses import dataclass
from math import isfinite

from headwater_wire.crashpoint import crashpoint
from headwater_wire.errors import DigestMismatch
from headwater_wire.ids import DeviceId, Digest, TaskId
from headwater_wire.messages import Blob, Metrics, Offer, Phase, Progress, Receipt, ReceiptKind

from headwater_control.core.assignment import CODEC
from headwater_control.core.runs import RunState, TaskRecord, TaskState
from headwater_control.core.training import training
from headwater_control.ports import Staging, Transaction, Unusable
from headwater_control.service.errors import NotFound
from headwater_control.service.lookup import find_bundle, find_model, find_run, find_version
from headwater_control.service.mismatches import ATTEMPTS
from headwater_control.service.spent import forget
from headwater_control.service.work import work
from headwater_control.service.world import World

_BYTES_PER_ELEMENT = 4
_NO_DELTA = "it offered a delta where only a score was asked for"
_HEADER_BYTES = 1 << 16  # what a codec may add to the numbers, generously: an offer beyond it is refused unseen


@dataclass(frozen=True, slots=True)
class Expected:
    """An offered delta is to be sent: so many numbers."""

    elements: int


async def offer(world: World, offer: Offer) -> Receipt | Expected:
    """Say what becomes of an offered delta: a final receipt, or that it is to be sent."""
    now = world.clock.now()
    async with world.store.read() as tx:
        task = await tx.tasks.get(offer.task)
        receipt = await _final(tx, task, offer)
        if receipt is None and task is not None:
            run = await find_run(tx, task.run)
            elements = (await find_model(tx, run.spec.model)).elements
            problem = await _objection(tx, task, offer, elements)
    if receipt is not None or task is None:
        return await _told(world, task, receipt or _unknown(offer))
    if problem:
        return await _refuse(world, offer, problem)
    if (now - (task.progress_at or task.opened_at)).total_seconds() > world.settings.heartbeat_busy_s:
        uploading = Progress(task.id, Phase.UPLOADING, task.step, task.steps, task.loss)
        async with world.store.write() as tx:  # an upload is progress, though no heartbeat has told it yet
            await tx.tasks.note([(task.device, uploading)], now)
    return Expected(elements)


async def commit(world: World, offer: Offer, expected: Expected, staging: Staging) -> Receipt:
    """Check a delta that has arrived whole, make it durable, then its row: the receipt says what came of it.

    Raises `DigestMismatch` if the bytes are not the announced ones: send them again; after a few times it is refused.
    """
    try:
        await world.offload.check_delta(await staging.path(), offer.codec, expected.elements)
    except Unusable as error:
        return await _refuse(world, offer, str(error))
    except DigestMismatch as error:
        if not world.mismatches.too_many(offer.task):
            raise
        return await _refuse(world, offer, f"it came damaged {ATTEMPTS} times; the last time {error}")
    async with world.holds.hold(offer.delta.digest):
        blob = await staging.commit()
        crashpoint("control.delta.blob")
        receipt = await _record(world, offer, blob)
    if receipt.digest != blob.digest:  # the task ended while its bytes came
        await forget(world, frozenset({blob.digest}))
    crashpoint("control.delta.committed")
    return receipt


async def may_fetch(world: World, device: DeviceId, digest: Digest) -> TaskId | None:
    """Give the open task of this device that needs the blob; None if a deployment does; else raise `NotFound`."""
    async with world.store.read() as tx:
        if (task := await _needing(tx, device, digest)) is not None:
            return task
        for deployment in await tx.rollouts.desired(device):
            release = (await find_version(tx, deployment.version)).release
            if release and digest in (release.onnx.digest, release.reference.digest):
                return None
    raise NotFound(f"no open task or deployment of device {device} needs blob {digest}: sync again")


async def fetched(world: World, task: TaskId, size: int) -> None:
    """Count bytes sent to a device for a task."""
    async with world.store.write() as tx:
        await tx.tasks.add_bytes_down(task, size)


def implausible(metrics: Metrics) -> str:
    """Say what is wrong with reported figures; "" if nothing is."""
    correct, error = metrics.holdout_correct or 0.0, metrics.holdout_absolute_error or 0.0
    figures = (metrics.train_loss, metrics.holdout_loss, correct, error, metrics.seconds)
    if not all(isfinite(figure) for figure in figures):
        return "its metrics are not finite numbers: did the loss diverge? Try a lower learning rate"
    if metrics.examples < 0 or error < 0 or not 0 <= correct <= metrics.holdout_examples:
        return "its metrics contradict each other"
    return ""


async def _record(world: World, offer: Offer, blob: Blob) -> Receipt:
    """Commit the row of a durable blob, unless the task has ended meanwhile."""
    async with work(world) as unit:
        closed = await unit.tx.tasks.close(
            offer.task,
            TaskState.SUCCEEDED,
            at=world.clock.now(),
            delta=blob,
            codec=offer.codec,
            metrics=offer.metrics,
        )
        task = await unit.tx.tasks.get(offer.task)
        if closed and task is not None:
            unit.reported.append(task.run)
        receipt = await _final(unit.tx, task, offer) or _unknown(offer)
        if receipt.kind is ReceiptKind.TOO_LATE:
            await unit.tx.tasks.late(offer.task, world.clock.now())
        return receipt


async def _told(world: World, task: TaskRecord | None, receipt: Receipt) -> Receipt:
    """Give a final receipt; the first that says "too late" is counted."""
    if task is not None and receipt.kind is ReceiptKind.TOO_LATE and task.late_at is None:
        async with world.store.write() as tx:
            await tx.tasks.late(task.id, world.clock.now())
    return receipt


async def _final(tx: Transaction, task: TaskRecord | None, offer: Offer) -> Receipt | None:
    """Give the receipt for a task that has ended, or is none of this device's; None while it is open."""
    if task is None:
        return _unknown(offer)
    if task.device != offer.device:
        return Receipt(ReceiptKind.REFUSED, reason=f"task {task.id} was given to another device")
    match task.state:
        case TaskState.OPEN:
            return None
        case TaskState.SUCCEEDED:
            if task.delta is None:
                return Receipt(ReceiptKind.REFUSED, reason=_NO_DELTA)
            return Receipt(ReceiptKind.COMMITTED, digest=task.delta.digest)
        case TaskState.TIMED_OUT:
            return Receipt(ReceiptKind.TOO_LATE, reason=task.reason)
        case TaskState.CANCELLED:  # by a person, or because the round closed without it
            by_hand = (await find_run(tx, task.run)).state is RunState.CANCELLED
            return Receipt(ReceiptKind.CANCELLED if by_hand else ReceiptKind.TOO_LATE, reason=task.reason)
        case TaskState.FAILED | TaskState.REJECTED:
            return Receipt(ReceiptKind.REFUSED, reason=task.reason or f"task {task.id} has {task.state}")


def _unknown(offer: Offer) -> Receipt:
    return Receipt(ReceiptKind.REFUSED, reason=f"there is no task {offer.task}")


async def _objection(tx: Transaction, task: TaskRecord, offer: Offer, elements: int) -> str:
    """Say why an offer for an open task can't be taken; "" if it can."""
    record = await tx.runs.round(task.run, task.round)
    most = elements * _BYTES_PER_ELEMENT + _HEADER_BYTES
    if record is None or record.evaluate:
        return _NO_DELTA
    if offer.codec != CODEC:
        return f"the delta is coded as {offer.codec}, but {CODEC} was asked for: agent and control plane differ"
    if not 0 < offer.delta.size <= most:
        return f"the delta has {offer.delta.size} bytes; one of {elements} float32 has at most {most}"
    if offer.metrics.examples < 1:
        return "the delta was trained on no examples"
    return implausible(offer.metrics)


async def _refuse(world: World, offer: Offer, problem: str) -> Receipt:
    """Fail a task for a delta that can't be used: the reason stands on the task. One that has ended keeps its end."""
    async with work(world) as unit:
        reason = f"delta refused: {problem}"
        closed = await unit.tx.tasks.close(offer.task, TaskState.FAILED, at=world.clock.now(), reason=reason)
        task = await unit.tx.tasks.get(offer.task)
        if closed and task is not None:
            unit.rung.add(task.run)
            return Receipt(ReceiptKind.REFUSED, reason=problem)
        return await _final(unit.tx, task, offer) or _unknown(offer)


async def _needing(tx: Transaction, device: DeviceId, digest: Digest) -> TaskId | None:
    """Find the oldest open task of a device that needs a blob."""
    for task in await tx.tasks.open_of(device):
        run = await find_run(tx, task.run)
        bundle = await find_bundle(tx, run.spec.model, training(run.spec))
        record = await tx.runs.round(task.run, task.round)
        needed: list[Blob] = [bundle.manifest, *bundle.files]
        if record is not None:
            needed.append((await find_version(tx, record.base)).parameters)
        if any(blob.digest == digest for blob in needed):
            return task.id
    return None
