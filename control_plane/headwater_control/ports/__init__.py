"""What the control plane needs of the world, as narrow interfaces. Edges implement them; tests bring fakes."""

from headwater_control.ports.blobs import Blobs, Staging, TakenOver
from headwater_control.ports.chance import Clock, Ids
from headwater_control.ports.offload import (
    Checked,
    CheckedRow,
    Imported,
    ImportJob,
    MergeJob,
    Offload,
    OffloadFailed,
    Unusable,
)
from headwater_control.ports.publisher import Assign, Deploy, Downward, Publisher, Ring, Withdraw
from headwater_control.ports.store import (
    AlreadyExists,
    Bundles,
    Busy,
    Devices,
    Fenced,
    Labels,
    Models,
    Rollouts,
    Runs,
    Store,
    Tasks,
    Transaction,
)

__all__ = [
    "AlreadyExists",
    "Assign",
    "Blobs",
    "Bundles",
    "Busy",
    "Checked",
    "CheckedRow",
    "Clock",
    "Deploy",
    "Devices",
    "Downward",
    "Fenced",
    "Ids",
    "ImportJob",
    "Imported",
    "Labels",
    "MergeJob",
    "Models",
    "Offload",
    "OffloadFailed",
    "Publisher",
    "Ring",
    "Rollouts",
    "Runs",
    "Staging",
    "Store",
    "TakenOver",
    "Tasks",
    "Transaction",
    "Unusable",
    "Withdraw",
]
