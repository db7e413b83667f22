"""Eras of a fleet's memory: a revision's upper half says how often the database was restored from a backup.

What was counted since the backup was made is not known to the restored database, which counts it again. In a later era
every revision is newer than all of an earlier one, and whoever compares other numbers learns that they began anew.
"""

ERA = 1 << 32  # no device has so many changes


def era(revision: int) -> int:
    """Say in which era a revision was counted."""
    return revision // ERA


def first_of(number: int) -> int:
    """Give the first revision of an era."""
    return number * ERA


def next_era(revision: int) -> int:
    """Give the revision of a device that a restored database goes on from."""
    return revision + ERA
