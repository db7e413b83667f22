"""What goes wrong in a history, and how often: each seed draws its own mixture.

That some troubles are absent altogether lets the others reach deeper: A. Groce et al., "Swarm Testing", ISSTA 2012.
"""

from dataclasses import dataclass, fields
from random import Random


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities, each of one occasion, unless a unit says otherwise."""

    lost: float  # an MQTT message
    twice: float  # an MQTT message: it comes again, within a minute
    astray: float  # an MQTT message that comes much later than those sent after it
    cut: float  # a message of a gRPC call: the call breaks there
    slow: float  # any message: it takes seconds
    busy: float  # a transaction: it can't be had
    unsure: float  # a transaction: it is committed, and its caller hears that it failed
    disk: float  # an fsync, or a write to the journal: it fails
    torn: float  # an fsync, a write to the journal, a commit: the process dies there
    sick: float  # a job of the training child, or a merge: it dies, or fails
    unfit: float  # a look at a box's conditions: it may not train now
    falls: float  # a step of a process: the process dies there
    outages_s: float  # one of a box, the broker or the control plane begins so often, on average
    jumps_s: float  # the control plane's clock is set anew so often, on average; 0: never

    @property
    def clear(self) -> bool:
        """Say whether nothing goes wrong at all."""
        return not any(getattr(self, field.name) for field in fields(self))


_WORST = Weather(
    lost=0.3,
    twice=0.4,
    astray=0.2,
    cut=0.15,
    slow=0.1,
    busy=0.1,
    unsure=0.05,
    disk=0.05,
    torn=0.04,
    sick=0.3,
    unfit=0.8,
    falls=0.001,
    outages_s=15.0,
    jumps_s=60.0,
)
CLEAR = Weather(**{field.name: 0.0 for field in fields(Weather)})


def drawn(chance: Random) -> Weather:
    """Draw which troubles there are, and how bad each is."""
    found = {}
    for field in fields(Weather):
        worst = getattr(_WORST, field.name)
        there, share = chance.random() < 0.6, chance.random() ** 2
        if field.name.endswith("_s"):
            found[field.name] = worst / max(share, 0.05) if there else 0.0
        else:
            found[field.name] = worst * share if there else 0.0
    return Weather(**found)


class Fate:
    """Draws what happens. Once `calm`, nothing bad does any more."""

    def __init__(self, chance: Random, weather: Weather) -> None:
        self.chance = chance
        self.weather = weather

    def calm(self) -> None:
        """End all troubles."""
        self.weather = CLEAR

    def strikes(self, probability: float) -> bool:
        """Draw whether something of this probability happens; nothing is drawn for what can't."""
        return probability > 0.0 and self.chance.random() < probability

    def delay_s(self) -> float:
        """Draw how long a message takes."""
        if self.strikes(self.weather.slow):
            return self.chance.random() * 8
        return 0.001 + self.chance.random() ** 4 * 0.2

    def next_s(self, every_s: float) -> float:
        """Draw when the next of what happens every so often, on average, does."""
        return self.chance.expovariate(1 / every_s)
