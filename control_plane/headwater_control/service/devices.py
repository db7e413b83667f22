"""Use cases around devices: registration, signs of life, and why one is not training."""

from collections.abc import Sequence
from dataclasses import dataclass

from headwater_wire.ids import DeviceId
from headwater_wire.messages import Hello, Progress

from headwater_control.core.fleet import Beat, Device
from headwater_control.core.rollout import DeploymentRecord
from headwater_control.core.runs import TaskRecord
from headwater_control.ports import Labels
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as an operator sees it. `why_not_training` is empty while it has open tasks."""

    device: Device
    tasks: tuple[TaskRecord, ...]  # open ones
    deployments: tuple[DeploymentRecord, ...]  # what it should have installed
    why_not_training: tuple[str, ...]


async def register(world: World, device: DeviceId, hello: Hello, hello_hash: str) -> None:
    """Take in a device's Hello; `hello_hash` is the SHA-256 (hex) of its bytes. One of an older epoch is ignored."""
    raise NotImplementedError


async def presence(world: World, device: DeviceId, online: bool, epoch: int, seq: int) -> None:
    """Take in a birth, goodbye or last will: the highest (epoch, seq) wins. Of an unknown device: nothing."""
    raise NotImplementedError


async def heartbeats(world: World, beats: Sequence[tuple[Beat, tuple[Progress, ...]]]) -> None:
    """Take in many heartbeats at once; ring those devices that are behind, or unknown, to come and sync."""
    raise NotImplementedError


async def list_devices(world: World, labels: Labels = ()) -> tuple[Device, ...]:
    """List the devices with all of `labels`, by id."""
    raise NotImplementedError


async def show_device(world: World, device: DeviceId) -> DeviceView:
    """Show one; raise `NotFound`."""
    raise NotImplementedError
