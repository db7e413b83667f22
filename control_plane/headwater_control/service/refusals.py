"""Counts what each invitation was refused for, so that whoever has a dead one can't fill the audit log with it."""

from collections import OrderedDict

_INVITES = 10_000  # of more the one that was tried longest ago is forgotten: it is counted anew
_AIMS = 100  # boxes whose place one invitation was tried for: more are counted together


class Refusals:
    """How often each invitation was tried in vain. Of this process: a restart counts from 0."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, dict[str, int]] = OrderedDict()

    def count(self, invite: str, aim: str = "") -> int:
        """Count one more; say how many that makes. With `aim`, a box that it was tried for: how many for that one."""
        counts = self._counts.pop(invite, {})
        if aim not in counts and len(counts) >= _AIMS:
            aim = ""
        counts[aim] = counts.get(aim, 0) + 1
        self._counts[invite] = counts
        if len(self._counts) > _INVITES:
            self._counts.popitem(last=False)
        return counts[aim]
