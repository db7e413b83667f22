"""What an MQTT message to this box says, as an event."""

from typing import TypeVar

from google.protobuf.message import DecodeError
from headwater_wire import convert, topics
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, TaskId, check_name
from headwater_wire.v1 import fleet_pb2 as fleet

from headwater_agent.core.events import Assigned, DeploymentWanted, Event, Rung, Withdrawn

_M = TypeVar("_M", fleet.TaskMessage, fleet.DeploymentMessage, fleet.SyncRing)


def read(device: DeviceId, topic: str, payload: object) -> Event:
    """Decode a message; raise `Malformed` also if it is meant for another device."""
    to, way, kind = topics.parse(topic)
    _require(device, to)
    match way, kind:
        case "dn", "task":
            return _task(device, _parse(fleet.TaskMessage, payload))
        case "dn", "deployment":
            message = _parse(fleet.DeploymentMessage, payload)
            deployment = convert.deployment_from(message.deployment)
            _require(device, deployment.device)
            return DeploymentWanted(message.revision, deployment)
        case "dn", "sync":
            _parse(fleet.SyncRing, payload)
            return Rung()
    raise Malformed("not a message to a device")


def _task(device: DeviceId, message: fleet.TaskMessage) -> Event:
    match message.WhichOneof("body"):
        case "assign":
            task = convert.task_from(message.assign)
            _require(device, task.device)
            return Assigned(message.revision, task)
        case "cancel":
            task_id = TaskId(check_name(message.cancel.task, "task"))
            return Withdrawn(message.revision, task_id, message.cancel.reason[:200])
    raise Malformed("a task message without a task")


def _require(device: DeviceId, named: DeviceId) -> None:
    if named != device:
        raise Malformed(f"it is for {named!r}, not for {device!r}")


def _parse(kind: type[_M], payload: object) -> _M:
    if not isinstance(payload, bytes | bytearray):
        raise Malformed("a message without bytes")
    try:
        return kind.FromString(bytes(payload))
    except DecodeError as error:
        raise Malformed(f"not a {kind.DESCRIPTOR.name}: {error}") from error
