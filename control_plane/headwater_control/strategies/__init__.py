"""Strategies: how deltas become the next version. Pure; numpy only."""

from collections.abc import Callable, Sequence

from headwater_wire.errors import Malformed

from headwater_control.strategies import fedavg

Weighting = Callable[[Sequence[int]], tuple[float, ...]]

_WEIGHTINGS: dict[str, Weighting] = {"fedavg": fedavg.weights}
NAMES = tuple(_WEIGHTINGS)


def weights(strategy: str, examples: Sequence[int]) -> tuple[float, ...]:
    """Weigh deltas by the examples each was trained on; raise `Malformed` on an unknown strategy or no examples."""
    if strategy not in _WEIGHTINGS:
        raise Malformed(f"no strategy is named {strategy[:80]!r}; known are {', '.join(NAMES)}")
    return _WEIGHTINGS[strategy](examples)
