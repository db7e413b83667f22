"""Which numbers make sense in a run: the one place that says so, here and in the description of the HTTP API."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headwater_control.core.runs import RunSpec

_MONTH_S = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, which belong to it unless `above` and `below` say otherwise."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Say whether a number is in it; NaN is in none."""
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        if not (self.above or self.below):
            return f"{self.low} to {self.high}"
        return f"{'above' if self.above else 'at least'} {self.low}, {'below' if self.below else 'at most'} {self.high}"


RANGES: Mapping[str, Range] = MappingProxyType(
    {
        "rounds": Range(1, 100_000),
        "clients_per_round": Range(0, 1_000_000),
        "over_select": Range(1, 10),
        "quorum": Range(0, 1, above=True),
        "round_deadline_s": Range(1, _MONTH_S),
        "progress_deadline_s": Range(1, _MONTH_S),
        "epochs": Range(1, 100_000),
        "batch_size": Range(1, 1_000_000),
        "learning_rate": Range(0, 1_000_000, above=True),
        "momentum": Range(0, 1, below=True),
        "beta1": Range(0, 1, below=True),
        "beta2": Range(0, 1, below=True),
        "epsilon": Range(0, 1, above=True),
        "weight_decay": Range(0, 1_000),
        "clip_norm": Range(0, 1_000_000),
        "proximal": Range(0, 1_000),
        "holdout": Range(0, 1, below=True),
        "seed": Range(0, (1 << 63) - 1),
    }
)


def objection(spec: RunSpec) -> str:
    """Name the first number that makes no sense, and what would; "" if all do."""
    for name, allowed in RANGES.items():
        value = getattr(spec, name)
        if not allowed.holds(value):
            return f"{name} is {value}, but must be {allowed}"
    return ""
