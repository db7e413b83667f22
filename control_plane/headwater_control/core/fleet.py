"""What the control plane knows of a device, and what follows from its signs of life."""

from dataclasses import dataclass, field
from datetime import datetime

from headwater_wire.ids import DeviceId
from headwater_wire.messages import DatasetCard, Inventory


@dataclass(frozen=True, slots=True)
class Device:
    """One edge box. `revision` counts the changes meant for it; presence is the highest (epoch, seq) seen."""

    id: DeviceId
    registered_at: datetime
    labels: tuple[tuple[str, str], ...] = ()
    inventory: Inventory = field(default_factory=Inventory)
    datasets: tuple[DatasetCard, ...] = ()
    engines: tuple[str, ...] = ()
    hello_hash: str = ""
    revision: int = 0
    held_revision: int = 0  # what its last heartbeat or Sync showed
    epoch: int = 0
    seq: int = 0
    online: bool = False
    presence_at: datetime | None = None  # when `online` last changed
    last_seen: datetime | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat says of a device."""

    device: DeviceId
    epoch: int
    revision: int
    at: datetime
