"""What a box stands in, whichever life it is in: power, heat, load, its network, a clock, data that grow."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from headwater_agent.core.conditions import Readings
from headwater_agent.core.hours import Moment
from headwater_agent.core.maintenance import Instant

from tests.fakes.clock import START
from tests.simulation.loop import SimulatedLoop
from tests.simulation.owner import Owner
from tests.simulation.weather import Fate

DAY_S = 24 * 3600
PACE = DAY_S / 120  # of the clock on a box's wall: its days last two minutes, so that a history sees some


class Level(IntEnum):
    """How one reading is; what is hazy may be met or not: it is unknown, or only lost if it was lost before."""

    GOOD = 0
    HAZY = 1
    BAD = 2


_READ: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "power": ({"on_mains": True}, {"on_mains": False, "battery": 32.0}, {"on_mains": False, "battery": 10.0}),
    "temperature": ({"celsius": 40.0}, {"celsius": 58.0}, {"celsius": 75.0}),
    "memory": ({"memory_pressure": 2.0}, {"memory_pressure": 17.0}, {"memory_pressure": 60.0}),
    "cpu": ({"cpu_busy": 5.0}, {"cpu_busy": None}, {"cpu_busy": 90.0}),
    "disk": ({"free_bytes": 10**9}, {"free_bytes": 210_000_000}, {"free_bytes": 10**6}),
    "network": ({"metered": False}, {"metered": None}, {"metered": True}),
}
_ALWAYS = Readings(cpu_pressure=0.0, gpu_busy=0.0)


@dataclass
class Surroundings:
    """`counts` lists how many examples there have ever been; `pause` is what a person has been told: until when."""

    loop: SimulatedLoop
    fate: Fate
    owner: Owner
    counts: list[int]
    wrong_s: float = 0.0  # of the clock on the wall
    pause: tuple[float | None, bool] = (0.0, True)  # by that clock, None: until it is resumed; and whether that is sure
    _levels: dict[str, Level] = field(default_factory=lambda: dict.fromkeys(_READ, Level.GOOD))

    @property
    def examples(self) -> int:
        """Count them."""
        return self.counts[-1]

    @property
    def fingerprint(self) -> str:
        """Tell what the data's files look like."""
        return f"{self.examples} examples"

    def wall_s(self) -> float:
        """Tell the time by the clock on the wall."""
        return START.timestamp() + self.loop.now_s * PACE + self.wrong_s

    def instant(self) -> Instant:
        """Tell it as a kernel does that does not say which start of its this is."""
        return Instant(int(self.wall_s() * 1000))

    def read(self) -> Readings:
        """Read the box."""
        levels = {name: values for kind, level in self._levels.items() for name, values in _READ[kind][level].items()}
        return replace(_ALWAYS, **levels, moment=self._moment())

    def change(self) -> None:
        """Have something become better or worse."""
        kind = self.fate.chance.choice(list(_READ))
        worse = self.fate.strikes(self.fate.weather.unfit)
        self._levels[kind] = self.fate.chance.choice((Level.HAZY, Level.BAD, Level.BAD)) if worse else Level.GOOD

    def clear_up(self) -> None:
        """Have all be as its owner wants it."""
        self._levels = dict.fromkeys(_READ, Level.GOOD)
        self.wrong_s = 0.0

    def grow(self) -> None:
        """Collect examples."""
        self.counts.append(self.examples + 1 + int(self.fate.chance.random() * (5 + self.owner.min_new_examples)))

    def bad(self) -> list[str]:
        """Name what is clearly too bad for training."""
        return [kind for kind, level in self._levels.items() if level is Level.BAD]

    def forbidden(self) -> str:
        """Say which word of a person's or the owner's keeps it from training."""
        until_s, sure = self.pause
        if sure and (until_s is None or self.wall_s() < until_s):
            return "paused"
        return "" if self.owner.wanted.hours.hold(self._moment()) else "hours"

    def _moment(self) -> Moment:
        now = datetime.fromtimestamp(self.wall_s(), UTC)
        return Moment(now.weekday(), now.hour * 60 + now.minute)
