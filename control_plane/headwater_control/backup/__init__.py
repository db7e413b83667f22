"""A copy of a control plane from which it can be made again, on another machine: taken while it runs, and restored."""

from headwater_control.backup.manifest import BadBackup, Manifest
from headwater_control.backup.restore import restore
from headwater_control.backup.take import take

__all__ = ["BadBackup", "Manifest", "restore", "take"]
