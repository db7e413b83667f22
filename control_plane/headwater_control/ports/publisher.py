"""Out to the devices: what they are told, and by whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater_wire.ids import DeviceId, TaskId
from headwater_wire.messages import Deployment, Task


@dataclass(frozen=True, slots=True)
class Assign:
    """Tell a device of a task."""

    device: DeviceId
    revision: int
    task: Task


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Tell a device that a task is over."""

    device: DeviceId
    revision: int
    task: TaskId
    reason: str


@dataclass(frozen=True, slots=True)
class Deploy:
    """Tell a device what to install."""

    device: DeviceId
    revision: int
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Ring:
    """Tell a device to come and sync."""

    device: DeviceId
    revision: int


Downward = Assign | Withdraw | Deploy | Ring


class Publisher(Protocol):
    """MQTT, downwards: fast and forgetful. What is lost is healed by Sync, since the revision was raised."""

    async def publish(self, messages: Sequence[Downward]) -> None:
        """Send, or drop with a line in the log; never raise, never wait long."""
