"""Replay a seed, or play many: `python -m tests.simulation 1234 --trace`, `… --seeds 10000`."""

import argparse
import sys

from tests.simulation.many import play_many
from tests.simulation.play import play


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="the one to replay")
    parser.add_argument("--trace", action="store_true", help="print its history")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to play (default: %(default)s)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them (default: %(default)s)")
    parser.add_argument("--agents", type=int, default=0, help="boxes in each (default: as the seed draws, 3 to 8)")
    wanted = parser.parse_args()
    if wanted.seed is None:
        return play_many(wanted.first, wanted.seeds, wanted.agents)
    outcome = play(wanted.seed, agents=wanted.agents)
    if wanted.trace:
        print("\n".join(outcome.lines))
    print(
        f"seed {outcome.seed}: {outcome.virtual_s:.0f} s, {outcome.steps} steps, {outcome.crashes} crashes, "
        f"{outcome.merges} merges, {outcome.fingerprint[:16]}: {outcome.broken or 'every promise was kept'}"
    )
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
