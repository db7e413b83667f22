"""An agent's records, as SQLite keeps them: all or nothing, and safe from a power loss once `write` has returned."""

import sqlite3
from collections.abc import Callable, Mapping

from tests.simulation.loop import Crashed, Process
from tests.simulation.weather import Fate

Rows = dict[str, bytes]


class SimulatedLedger:
    """The `Records` of one life; `kept` is told what is on the platter from now on, `failed` that nothing is new."""

    def __init__(
        self,
        rows: Rows,
        process: Process,
        fate: Fate,
        kept: Callable[[Rows, Rows], None],
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.problems: tuple[str, ...] = ()
        self.rows = rows
        self._process = process
        self._fate = fate
        self._kept = kept
        self._failed = failed

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Replace, insert and delete, or fail, or die before or after it."""
        weather = self._fate.weather
        self._perhaps_die(weather.torn / 2)
        if self._fate.strikes(weather.disk):
            self._failed()
            raise sqlite3.OperationalError("disk I/O error")
        before = self.rows
        after = {**before, **{key: body for key, body in changes.items() if body is not None}}
        self.rows = {key: after[key] for key in sorted(after) if changes.get(key, b"") is not None}
        if not self._process.alive:
            raise Crashed
        self._kept(before, self.rows)
        self._perhaps_die(weather.torn / 2)

    def _perhaps_die(self, probability: float) -> None:
        if self._process.alive and self._fate.strikes(probability):
            self._process.kill()
        if not self._process.alive:
            raise Crashed
