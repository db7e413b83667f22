"""Which examples are held out, and in which order the others are trained on."""

import numpy as np
import numpy.typing as npt

from headwater_agent.core import shares

Rows = npt.NDArray[np.intp]

_GOLDEN = np.uint64(shares.GOLDEN)


def split(count: int, holdout: float) -> tuple[Rows, Rows]:
    """Divide the examples into (trained on, held out), the same way in every round of every run.

    An example's hash of its number decides. So appended examples leave the old ones where they are, a larger share
    contains a smaller one, and (by the three-gap theorem) each stretch of the file gives its share, sorted or not.
    """
    hashes = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    held = hashes < np.uint64(int(holdout * 2**64)) if holdout < 1 else np.ones(count, np.bool_)
    return np.flatnonzero(~held), np.flatnonzero(held)


def shuffled(rows: Rows, seed: int, epoch: int) -> Rows:
    """Order the examples for one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows)
