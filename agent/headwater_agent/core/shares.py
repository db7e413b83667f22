"""How many of a dataset's examples a plan trains on, scores, and takes in a step: counted without looking at them."""

from math import ceil

from headwater_wire.messages import Plan

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: Knuth, volume 3, 6.4, Fibonacci hashing
SCORING_BATCH = 256
_MODULUS = 1 << 64


def shares(count: int, holdout: float) -> tuple[int, int]:
    """Say how many are (trained on, held out), as `training/datasets/split.py` divides them.

    Held out are those numbers i of 1 … count for which i · GOLDEN mod 2^64 lies below a threshold t: where the floors
    of i · GOLDEN / 2^64 and (i · GOLDEN − t) / 2^64 differ. Such sums take a logarithm's time.
    """
    if holdout >= 1:
        return 0, count
    threshold = int(holdout * _MODULUS)
    floors = _floor_sum(count + 1, _MODULUS, GOLDEN, 0)
    lowered = _floor_sum(count + 1, _MODULUS, GOLDEN, _MODULUS - threshold) - (count + 1)
    held = floors - lowered - (threshold > 0)  # the sums have a number 0 too
    return count - held, held


def steps_of(count: int, plan: Plan) -> int:
    """Say how many steps a plan's work takes on a dataset of `count` examples."""
    trained, held = shares(count, plan.holdout)
    training = plan.epochs * ceil(trained / plan.batch_size) if plan.train else 0
    return ceil(held / SCORING_BATCH) + training


def _floor_sum(terms: int, modulus: int, factor: int, start: int) -> int:
    """Add up the floors of (factor · i + start) / modulus for i from 0 to terms − 1, as Euclid's algorithm divides.

    Graham, Knuth and Patashnik, "Concrete Mathematics", 3.5.
    """
    total = 0
    while terms:
        total += terms * (terms - 1) // 2 * (factor // modulus) + terms * (start // modulus)
        factor, start = factor % modulus, start % modulus
        most = factor * terms + start
        if most < modulus:
            break
        terms, start = divmod(most, modulus)
        modulus, factor = factor, modulus
    return total
