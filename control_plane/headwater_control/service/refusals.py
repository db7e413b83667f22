"""Counts what each invitation was refused for, so that whoever has a dead one can't fill the audit log with it."""

from collections import OrderedDict

_INVITES = 10_000  # of more the one that was tried longest ago is forgotten: it is counted anew


class Refusals:
    """How often each invitation was tried in vain. Of this process: a restart counts from 0."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, invite: str) -> int:
        """Count one more; say how many that makes."""
        times = self._counts.pop(invite, 0) + 1
        self._counts[invite] = times
        if len(self._counts) > _INVITES:
            self._counts.popitem(last=False)
        return times
