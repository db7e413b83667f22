"""A box's allowance of bytes to send on a day, of days that last minutes."""

from pathlib import Path

from headwater_agent.edges.allowance import FILE, DailyAllowance

from tests.simulation.disk import Disk
from tests.simulation.rules import Rules
from tests.simulation.surroundings import PACE


class CountedAllowance:
    """The real one, but that who waits for the next day waits for as much less; `rules` hear of what is counted."""

    def __init__(self, disk: Disk, rules: Rules) -> None:
        self._disk = disk
        self._place = disk.files / FILE
        self._real = DailyAllowance(disk.files, rules.place.owner.upload_bytes, rules.place.wall_s)
        self._rules = rules

    def wait_s(self, size: int) -> float:
        """Say for how many seconds an upload is put off."""
        wait_s = self._real.wait_s(size) / PACE
        if wait_s:
            self._rules.history.note(self._rules.box, f"has used its day up, for {wait_s:.0f} s")
        return wait_s

    def take(self, size: int) -> float:
        """Count an upload, or say for how many seconds it is put off."""
        before = _written(self._place)
        wait_s = self._real.take(size)
        if not wait_s:
            lasting = _written(self._place) != before and self._disk.safe(self._place)
            self._rules.took(size, lasting=lasting)
        return wait_s / PACE


def _written(place: Path) -> bytes:
    return place.read_bytes() if place.exists() else b""
