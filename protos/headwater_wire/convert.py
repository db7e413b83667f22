"""From protobuf messages to the records of messages.py and back: used at the gates and edges only."""

from collections.abc import Mapping

from headwater_wire import messages as m
from headwater_wire.errors import Malformed
from headwater_wire.ids import (
    DeviceId,
    ModelName,
    RolloutId,
    RunId,
    TaskId,
    VersionId,
    check_digest,
    check_name,
)
from headwater_wire.plausible import count, measure, text
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as gateway

PHASES = {
    m.Phase.ACCEPTED: fleet.ACCEPTED,
    m.Phase.FETCHING: fleet.FETCHING,
    m.Phase.TRAINING: fleet.TRAINING,
    m.Phase.SPOOLED: fleet.SPOOLED,
    m.Phase.UPLOADING: fleet.UPLOADING,
}
_STATES = {
    m.ConditionState.OK: fleet.OK,
    m.ConditionState.UNMET: fleet.UNMET,
    m.ConditionState.UNKNOWN: fleet.CONDITION_STATE_UNSPECIFIED,
}
_STATES_BACK = {value: key for key, value in _STATES.items()}
PHASES_BACK = {value: key for key, value in PHASES.items()}
_RECEIPTS = {
    m.ReceiptKind.COMMITTED: gateway.COMMITTED,
    m.ReceiptKind.TOO_LATE: gateway.TOO_LATE,
    m.ReceiptKind.CANCELLED: gateway.CANCELLED,
    m.ReceiptKind.REFUSED: gateway.REFUSED,
}
_RECEIPTS_BACK = {value: key for key, value in _RECEIPTS.items()}


def blob_to(blob: m.Blob) -> fleet.Blob:
    """Encode."""
    return fleet.Blob(digest=blob.digest, size=blob.size)


def blob_from(blob: fleet.Blob) -> m.Blob:
    """Decode; raise `Malformed` unless the digest is one."""
    return m.Blob(check_digest(blob.digest), count(blob.size, "a blob's size"))


def task_to(task: m.Task) -> fleet.Task:
    """Encode."""
    plan = task.plan
    return fleet.Task(
        id=task.id,
        run=task.run,
        round=task.round,
        device=task.device,
        dataset=task.dataset,
        bundle=blob_to(task.bundle),
        base=blob_to(task.base),
        base_version=task.base_version,
        plan=fleet.Plan(
            train=plan.train,
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.learning_rate,
            seed=plan.seed,
            holdout=plan.holdout,
            threads=plan.threads,
            codec=plan.codec,
            momentum=plan.momentum,
            beta1=plan.beta1,
            beta2=plan.beta2,
            epsilon=plan.epsilon,
            weight_decay=plan.weight_decay,
            clip_norm=plan.clip_norm,
            proximal=plan.proximal,
        ),
        deadline_ms=task.deadline_ms,
        labels=dict(task.labels),
    )


def task_from(task: fleet.Task) -> m.Task:
    """Decode; raise `Malformed` naming the first field that is wrong."""
    plan = task.plan
    if plan.batch_size < 1 or not 0 <= plan.holdout < 1:
        raise Malformed(f"task {task.id[:80]!r}: its plan has batch size {plan.batch_size} and holdout {plan.holdout}")
    return m.Task(
        id=TaskId(check_name(task.id, "task")),
        run=RunId(check_name(task.run, "run")),
        round=task.round,
        device=DeviceId(check_name(task.device, "device")),
        dataset=check_name(task.dataset, "dataset"),
        bundle=blob_from(task.bundle),
        base=blob_from(task.base),
        base_version=VersionId(check_name(task.base_version, "version")),
        plan=m.Plan(
            train=plan.train,
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.learning_rate,
            seed=plan.seed,
            holdout=plan.holdout,
            threads=plan.threads,
            codec=plan.codec,
            momentum=plan.momentum,
            beta1=plan.beta1,
            beta2=plan.beta2,
            epsilon=plan.epsilon,
            weight_decay=plan.weight_decay,
            clip_norm=plan.clip_norm,
            proximal=plan.proximal,
        ),
        deadline_ms=task.deadline_ms,
        labels=_labels(task.labels),
    )


def progress_to(progress: m.Progress) -> fleet.Progress:
    """Encode."""
    return fleet.Progress(
        task=progress.task,
        phase=PHASES[progress.phase],
        step=progress.step,
        steps=progress.steps,
        loss=progress.loss,
        waiting_for=progress.waiting_for,
    )


def progress_from(progress: fleet.Progress) -> m.Progress:
    """Decode; a phase of a newer agent reads as ACCEPTED."""
    return m.Progress(
        task=TaskId(check_name(progress.task, "task")),
        phase=PHASES_BACK.get(progress.phase, m.Phase.ACCEPTED),
        step=count(progress.step, "a step"),
        steps=count(progress.steps, "a number of steps"),
        loss=measure(progress.loss),
        waiting_for=text(progress.waiting_for, 200),
    )


def metrics_to(metrics: m.Metrics) -> gateway.Metrics:
    """Encode."""
    return gateway.Metrics(
        examples=metrics.examples,
        train_loss=metrics.train_loss,
        holdout_examples=metrics.holdout_examples,
        holdout_loss=metrics.holdout_loss,
        holdout_correct=metrics.holdout_correct,
        seconds=metrics.seconds,
        holdout_absolute_error=metrics.holdout_absolute_error,
    )


def metrics_from(metrics: gateway.Metrics) -> m.Metrics:
    """Decode; a diverged model's losses read as the largest number. Raise `Malformed` on an impossible count."""
    return m.Metrics(
        examples=count(metrics.examples, "a number of examples"),
        train_loss=measure(metrics.train_loss),
        holdout_examples=count(metrics.holdout_examples, "a number of examples"),
        holdout_loss=measure(metrics.holdout_loss),
        holdout_correct=measure(metrics.holdout_correct) if metrics.HasField("holdout_correct") else None,
        seconds=measure(metrics.seconds),
        holdout_absolute_error=(
            measure(metrics.holdout_absolute_error) if metrics.HasField("holdout_absolute_error") else None
        ),
    )


def offer_to(offer: m.Offer) -> gateway.Offer:
    """Encode."""
    return gateway.Offer(
        device=offer.device,
        task=offer.task,
        delta=blob_to(offer.delta),
        codec=offer.codec,
        metrics=metrics_to(offer.metrics),
    )


def offer_from(offer: gateway.Offer) -> m.Offer:
    """Decode; raise `Malformed` naming the first field that is wrong."""
    return m.Offer(
        device=DeviceId(check_name(offer.device, "device")),
        task=TaskId(check_name(offer.task, "task")),
        delta=blob_from(offer.delta),
        codec=check_name(offer.codec, "codec"),
        metrics=metrics_from(offer.metrics),
    )


def receipt_to(receipt: m.Receipt) -> gateway.Receipt:
    """Encode."""
    return gateway.Receipt(kind=_RECEIPTS[receipt.kind], digest=receipt.digest, reason=receipt.reason)


def receipt_from(receipt: gateway.Receipt) -> m.Receipt:
    """Decode; raise `Malformed` on a kind this side doesn't know, since a guess could delete a delta."""
    if receipt.kind not in _RECEIPTS_BACK:
        raise Malformed(f"a receipt of unknown kind {receipt.kind}")
    return m.Receipt(_RECEIPTS_BACK[receipt.kind], receipt.digest, receipt.reason)


def deployment_to(deployment: m.Deployment) -> fleet.Deployment:
    """Encode."""
    return fleet.Deployment(
        device=deployment.device,
        rollout=deployment.rollout,
        model=deployment.model,
        version=deployment.version,
        generation=deployment.generation,
        onnx=blob_to(deployment.onnx),
        reference=blob_to(deployment.reference),
        tolerance=deployment.tolerance,
    )


def deployment_from(deployment: fleet.Deployment) -> m.Deployment:
    """Decode; raise `Malformed` naming the first field that is wrong."""
    return m.Deployment(
        device=DeviceId(check_name(deployment.device, "device")),
        rollout=RolloutId(check_name(deployment.rollout, "rollout")),
        model=ModelName(check_name(deployment.model, "model")),
        version=VersionId(check_name(deployment.version, "version")),
        generation=deployment.generation,
        onnx=blob_from(deployment.onnx),
        reference=blob_from(deployment.reference),
        tolerance=deployment.tolerance,
    )


def hello_to(hello: m.Hello) -> fleet.Hello:
    """Encode."""
    inventory = hello.inventory
    return fleet.Hello(
        epoch=hello.epoch,
        inventory=fleet.Inventory(
            hostname=inventory.hostname,
            machine=inventory.machine,
            system=inventory.system,
            cpus=inventory.cpus,
            memory_bytes=inventory.memory_bytes,
            disk_free_bytes=inventory.disk_free_bytes,
            agent_version=inventory.agent_version,
            python_version=inventory.python_version,
        ),
        labels=dict(hello.labels),
        datasets=[
            fleet.Dataset(
                name=card.name,
                examples=card.examples,
                columns=[fleet.Column(name=c.name, dtype=c.dtype, shape=c.shape) for c in card.columns],
                problem=card.problem,
            )
            for card in hello.datasets
        ],
        engines=hello.engines,
        unconfined=hello.unconfined,
        conditions=[fleet.Condition(name=c.name, state=_STATES[c.state], why=c.why) for c in hello.conditions],
    )


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((check_name(k, "label"), check_name(v, "label value")) for k, v in labels.items()))


def _shape(column: fleet.Column) -> tuple[int, ...]:
    if any(size < 0 for size in column.shape):
        raise Malformed(f"column {column.name[:80]!r} has a negative size in its shape")
    return tuple(column.shape)


def hello_bytes(hello: m.Hello) -> bytes:
    """Serialize a registration as it is published, hashed and shown: the same bytes for the same registration."""
    return hello_to(hello).SerializeToString(deterministic=True)


def hello_from(hello: fleet.Hello) -> m.Hello:
    """Decode; raise `Malformed` naming the first field that is wrong."""
    inventory = hello.inventory
    return m.Hello(
        epoch=count(hello.epoch, "an epoch"),
        inventory=m.Inventory(
            hostname=text(inventory.hostname, 200),
            machine=text(inventory.machine, 64),
            system=text(inventory.system, 200),
            cpus=inventory.cpus,
            memory_bytes=count(inventory.memory_bytes, "a box's memory"),
            disk_free_bytes=count(inventory.disk_free_bytes, "a box's free disk"),
            agent_version=text(inventory.agent_version, 64),
            python_version=text(inventory.python_version, 64),
        ),
        labels=_labels(hello.labels),
        datasets=tuple(
            m.DatasetCard(
                name=check_name(card.name, "dataset"),
                examples=count(card.examples, "a number of examples"),
                columns=tuple(m.Column(text(c.name, 200), text(c.dtype, 32), _shape(c)) for c in card.columns),
                problem=text(card.problem, 500),
            )
            for card in hello.datasets
        ),
        engines=tuple(check_name(engine, "engine") for engine in hello.engines),
        unconfined=tuple(check_name(part, "part of a confinement") for part in hello.unconfined),
        conditions=tuple(
            m.Condition(
                check_name(c.name, "condition"),
                _STATES_BACK.get(c.state, m.ConditionState.UNKNOWN),
                text(c.why, 200),
            )
            for c in hello.conditions
        ),
    )
