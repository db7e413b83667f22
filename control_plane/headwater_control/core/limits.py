"""Which numbers make sense in a run."""

from collections.abc import Callable
from math import isfinite

from headwater_control.core.runs import RunSpec

_MONTH_S = 30 * 86400.0
_RULES: tuple[tuple[str, Callable[[RunSpec], bool], str], ...] = (
    ("rounds", lambda spec: 1 <= spec.rounds <= 100_000, "1 to 100000"),
    ("clients_per_round", lambda spec: 0 <= spec.clients_per_round <= 1_000_000, "0 (every able device) to 1000000"),
    ("over_select", lambda spec: 1 <= spec.over_select <= 10, "1 to 10"),
    ("quorum", lambda spec: 0 < spec.quorum <= 1, "above 0, at most 1: a share of the target"),
    ("round_deadline_s", lambda spec: 1 <= spec.round_deadline_s <= _MONTH_S, "1 second to 30 days"),
    ("progress_deadline_s", lambda spec: 1 <= spec.progress_deadline_s <= _MONTH_S, "1 second to 30 days"),
    ("epochs", lambda spec: 1 <= spec.epochs <= 100_000, "1 to 100000"),
    ("batch_size", lambda spec: 1 <= spec.batch_size <= 1_000_000, "1 to 1000000"),
    ("learning_rate", lambda spec: spec.learning_rate > 0 and isfinite(spec.learning_rate), "above 0"),
    ("holdout", lambda spec: 0 <= spec.holdout < 1, "at least 0, below 1"),
    ("seed", lambda spec: 0 <= spec.seed < 1 << 63, "0 to 2^63 - 1"),
)


def objection(spec: RunSpec) -> str:
    """Name the first number that makes no sense, and what would; "" if all do."""
    for name, holds, allowed in _RULES:
        if not holds(spec):
            return f"{name} is {getattr(spec, name)}, but must be {allowed}"
    return ""
