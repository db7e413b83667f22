"""Who can reach whom: between a box and the cloud messages take their time, or nothing arrives at all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.simulation.history import History
from tests.simulation.loop import SimulatedLoop
from tests.simulation.weather import Fate


class Way(Enum):
    """How a box is connected."""

    OPEN = "open"
    CUT = "cut"  # connections break at once, and none is made
    FROZEN = "frozen"  # nothing arrives, and nobody is told


@dataclass
class Network:
    """The ways, by box, and who wants to hear that one has changed."""

    loop: SimulatedLoop
    fate: Fate
    history: History
    ways: dict[str, Way] = field(default_factory=dict)
    changed: list[Callable[[str, Way], None]] = field(default_factory=list)

    def way(self, box: str) -> Way:
        """Say how a box is connected; the control plane and its broker are always together."""
        return self.ways.get(box, Way.OPEN)

    def turn(self, box: str, way: Way) -> None:
        """Change it."""
        if self.way(box) is not way:
            self.ways[box] = way
            self.history.note("network", f"{box} is {way.value}")
            for told in self.changed:
                told(box, way)
