"""The Sync exchange between protobuf and records: what an agent holds and reports, and the orders that answer it."""

import hashlib
from collections.abc import Callable

from google.protobuf.message import DecodeError

from headwater_wire import messages as m
from headwater_wire.convert import (
    PHASES,
    PHASES_BACK,
    deployment_from,
    deployment_to,
    hello_bytes,
    hello_from,
    metrics_from,
    metrics_to,
    task_from,
    task_to,
)
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, ModelName, RolloutId, TaskId, check_name
from headwater_wire.plausible import TOLD_AT_ONCE, count, text
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as gateway


def sync_to(request: m.SyncRequest) -> gateway.SyncRequest:
    """Encode."""
    return gateway.SyncRequest(
        device=request.device,
        epoch=request.epoch,
        revision=request.revision,
        hello_hash=request.hello_hash,
        held=[gateway.HeldTask(task=held.task, phase=PHASES[held.phase]) for held in request.held],
        reports=[_report_to(report) for report in request.reports],
        deployments=[
            gateway.DeploymentReport(
                rollout=report.rollout,
                model=report.model,
                generation=report.generation,
                installed=report.installed,
                problem=report.problem,
            )
            for report in request.deployments
        ],
        hello=hello_bytes(request.hello) if request.hello else b"",
    )


def sync_from(request: gateway.SyncRequest) -> m.SyncRequest:
    """Decode; raise `Malformed` naming the first field that is wrong, or told of too often."""
    for told in (request.held, request.reports, request.deployments):
        if len(told) > TOLD_AT_ONCE:
            raise Malformed(f"a Sync tells of {len(told)} things of a kind: {TOLD_AT_ONCE} at most")
    return m.SyncRequest(
        device=DeviceId(check_name(request.device, "device")),
        epoch=count(request.epoch, "an epoch"),
        revision=count(request.revision, "a revision"),
        hello_hash=text(request.hello_hash, 64),
        held=tuple(
            m.HeldTask(TaskId(check_name(held.task, "task")), PHASES_BACK.get(held.phase, m.Phase.ACCEPTED))
            for held in request.held
        ),
        reports=tuple(_report_from(report) for report in request.reports),
        deployments=tuple(
            m.DeploymentReport(
                rollout=RolloutId(check_name(report.rollout, "rollout")),
                model=ModelName(check_name(report.model, "model")),
                generation=count(report.generation, "a generation"),
                installed=report.installed,
                problem=text(report.problem, 500),
            )
            for report in request.deployments
        ),
        hello=_shown(request),
    )


def _shown(request: gateway.SyncRequest) -> m.Hello | None:
    """Read the registration that comes along; it must be the one whose hash is told."""
    if not request.hello:
        return None
    if hashlib.sha256(request.hello).hexdigest() != request.hello_hash:
        raise Malformed("the registration is not the one that its hash tells of")
    try:
        return hello_from(fleet.Hello.FromString(request.hello))
    except DecodeError as error:
        raise Malformed(f"not a Hello: {error}") from error


def order_to(order: m.Order) -> fleet.Order:
    """Encode."""
    message = fleet.Order(device=order.device, revision=order.revision)
    match order.body:
        case m.Task():
            message.assign.CopyFrom(task_to(order.body))
        case m.Withdrawal(task, reason):
            message.cancel.CopyFrom(fleet.Cancel(task=task, reason=reason))
        case m.Deployment():
            message.deploy.CopyFrom(deployment_to(order.body))
    return message


def order_from(order: fleet.Order) -> m.Order:
    """Decode; raise `Malformed` naming the first field that is wrong, also where it is for two devices."""
    device = DeviceId(check_name(order.device, "device"))
    body: m.Task | m.Withdrawal | m.Deployment
    match order.WhichOneof("body"):
        case "assign":
            body = task_from(order.assign)
        case "cancel":
            body = m.Withdrawal(TaskId(check_name(order.cancel.task, "task")), text(order.cancel.reason, 200))
        case "deploy":
            body = deployment_from(order.deploy)
        case _:
            raise Malformed("an order that orders nothing")
    if not isinstance(body, m.Withdrawal) and body.device != device:
        raise Malformed(f"an order to {device!r} about what {body.device!r} should do")
    return m.Order(device, order.revision, body)


def answer_to(answer: m.SyncAnswer, sign: Callable[[fleet.Order], fleet.SignedOrder]) -> gateway.SyncResponse:
    """Encode, with each task and deployment signed."""
    bodies: tuple[m.Task | m.Deployment, ...] = (*answer.tasks, *answer.deployments)
    return gateway.SyncResponse(
        revision=answer.revision,
        server_time_ms=answer.server_time_ms,
        epoch=answer.epoch,
        hello_wanted=answer.hello_wanted,
        orders=[sign(order_to(m.Order(body.device, answer.revision, body))) for body in bodies],
        heartbeat_s=answer.heartbeat_s,
    )


def answer_from(
    answer: gateway.SyncResponse, read: Callable[[fleet.SignedOrder], fleet.Order], device: DeviceId
) -> m.SyncAnswer:
    """Decode what is meant for `device`; raise what `read` does, and `Malformed` naming the wrong field."""
    orders = [order_from(read(signed)) for signed in answer.orders]
    if strangers := {order.device for order in orders} - {device}:
        raise Malformed(f"an answer for {min(strangers)!r}, not for {device!r}")
    return m.SyncAnswer(
        revision=answer.revision,
        server_time_ms=answer.server_time_ms,
        epoch=answer.epoch,
        hello_wanted=answer.hello_wanted,
        tasks=tuple(order.body for order in orders if isinstance(order.body, m.Task)),
        deployments=tuple(order.body for order in orders if isinstance(order.body, m.Deployment)),
        heartbeat_s=max(1, answer.heartbeat_s),
    )


def _report_to(report: m.TaskReport) -> gateway.TaskReport:
    match report.outcome:
        case m.Failed(reason):
            return gateway.TaskReport(task=report.task, failed=reason)
        case m.Rejected(reason):
            return gateway.TaskReport(task=report.task, rejected=reason)
        case m.Evaluated(metrics):
            return gateway.TaskReport(task=report.task, evaluated=metrics_to(metrics))


def _report_from(report: gateway.TaskReport) -> m.TaskReport:
    task = TaskId(check_name(report.task, "task"))
    match report.WhichOneof("outcome"):
        case "failed":
            return m.TaskReport(task, m.Failed(text(report.failed, 500)))
        case "rejected":
            return m.TaskReport(task, m.Rejected(text(report.rejected, 500)))
        case "evaluated":
            return m.TaskReport(task, m.Evaluated(metrics_from(report.evaluated)))
        case _:
            raise Malformed(f"the report on task {task} has no outcome")
