"""Eras of a fleet's memory: a revision's upper bits grow whenever the database is restored from a backup.

What was counted since the backup was made is not known to the restored database, which counts it again. In a later era
every revision is newer than all of an earlier one, and whoever compares other numbers learns that they began anew.
"""

from datetime import datetime

ERA = 1 << 28  # no device has so many changes: at one a second they are those of eight years


def era(revision: int) -> int:
    """Say in which era a revision was counted."""
    return revision // ERA


def first_of(number: int) -> int:
    """Give the first revision of an era."""
    return number * ERA


def restored(former: int, now: datetime) -> int:
    """Number the era that a restore begins: by the second, so that one backup that is restored twice begins two.

    No control plane is restored, started, stopped and restored again within one. Seconds since 1970 leave a revision
    below 2**62, from where on no control plane believes it, until the year 2514.
    """
    return max(former + 1, int(now.timestamp()))


def next_era(revision: int) -> int:
    """Give the revision of a device that a restored database goes on from."""
    return revision + ERA
