"""Federated averaging, after McMahan et al. 2017 (arXiv 1602.05629), algorithm 1."""

from collections.abc import Sequence

from headwater_wire.errors import Malformed


def weights(examples: Sequence[int]) -> tuple[float, ...]:
    """Return n_k / n for each delta, in their order: each quotient of integers rounded once, to a float64.

    Raises `Malformed` if a count is negative or nobody trained on anything.
    """
    for place, count in enumerate(examples, start=1):
        if count < 0:
            raise Malformed(f"delta {place} of {len(examples)} claims {count} examples")
    total = sum(examples)
    if not total:
        raise Malformed(f"nothing to average: {len(examples)} deltas of no examples")
    return tuple(count / total for count in examples)
