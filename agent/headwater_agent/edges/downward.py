"""What an MQTT message to this box says, as an event."""

from typing import TypeVar

from google.protobuf.message import DecodeError
from headwater_wire import exchange, topics
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Deployment, Order, Task, Withdrawal
from headwater_wire.v1 import fleet_pb2 as fleet

from headwater_agent.core.events import Assigned, DeploymentWanted, Event, Rung, Withdrawn
from headwater_agent.edges.trust import Trust

_M = TypeVar("_M", fleet.SignedOrder, fleet.SyncRing)


def read(device: DeviceId, topic: str, payload: object, trust: Trust) -> Event:
    """Decode a message; raise `Malformed`, also if it is for another device, or `Forged`."""
    to, way, kind = topics.parse(topic)
    _require(device, to)
    match way, kind:
        case "dn", "task" | "deployment":
            return _obeyed(device, exchange.order_from(trust.read(_parse(fleet.SignedOrder, payload))))
        case "dn", "sync":
            _parse(fleet.SyncRing, payload)
            return Rung()
    raise Malformed("not a message to a device")


def _obeyed(device: DeviceId, order: Order) -> Event:
    _require(device, order.device)
    match order.body:
        case Task():
            return Assigned(order.revision, order.body)
        case Withdrawal(task, reason):
            return Withdrawn(order.revision, task, reason)
        case Deployment():
            return DeploymentWanted(order.revision, order.body)


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
