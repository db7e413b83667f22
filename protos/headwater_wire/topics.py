"""The MQTT topics of v1, and who may use which."""

from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, check_name

_ROOT = "hw/v1/d"
UP = ("presence", "hello", "heartbeat")
DOWN = ("task", "deployment", "sync")

# Replicas of the control plane share the upward stream: each message reaches one of them, in no order.
CONTROL_FILTER = f"$share/control/{_ROOT}/+/up/#"


def control_filter(secret: str) -> str:
    """Name the same for a broker that lets all subscribe: who knew the share could join it, and swallow messages."""
    return f"$share/control-{secret}/{_ROOT}/+/up/#"


def up(device: DeviceId, kind: str) -> str:
    """Name the topic on which `device` tells `kind` (one of UP)."""
    return f"{_ROOT}/{device}/up/{kind}"


def down(device: DeviceId, kind: str) -> str:
    """Name the topic on which `device` is told `kind` (one of DOWN)."""
    return f"{_ROOT}/{device}/dn/{kind}"


def down_filter(device: DeviceId) -> str:
    """Name what an agent subscribes to."""
    return f"{_ROOT}/{device}/dn/#"


def parse(topic: str) -> tuple[DeviceId, str, str]:
    """Split a topic into (device, "up" or "dn", kind); raise `Malformed` if it is not one of ours."""
    match topic.split("/"):
        case ["hw", "v1", "d", device, "up" as way, kind] if kind in UP:
            return DeviceId(check_name(device, "device")), way, kind
        case ["hw", "v1", "d", device, "dn" as way, kind] if kind in DOWN:
            return DeviceId(check_name(device, "device")), way, kind
    raise Malformed(f"{topic[:120]!r} is no topic of Headwater's")
