"""`python -m tests.durability`: every durable call of an agent and of a control plane, killed and refused at each."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.durability import interposer
from tests.durability.points import NOT_REACHED, PROCESSES, Point, count, digest, problem

_EXAMPLE = """example, one point again:
  python -m tests.durability --process control --how KILL --from 120 --to 120"""


def main() -> int:
    """Try the points asked for; print what was wrong, and the command that does it again."""
    asked = _parser().parse_args()
    undisturbed = digest()
    points = []
    for process in asked.process or PROCESSES:
        last = asked.to or count(process)
        print(f"{process}: {last} durable calls", flush=True)
        points += [Point(process, how, n) for how in asked.how or interposer.HOW for n in range(asked.first, last + 1)]
    wrong = missed = 0
    began = time.monotonic()
    with ProcessPoolExecutor(asked.jobs, get_context("spawn")) as pool:  # forked, they would share what forks for us
        waiting = {pool.submit(problem, point, undisturbed): point for point in points}
        for number, future in enumerate(as_completed(waiting), 1):
            found = future.result()
            if found == NOT_REACHED:
                missed += 1
            elif found:
                wrong += 1
                point = waiting[future]
                again = f"--process {point.process} --how {point.how} --from {point.number} --to {point.number}"
                print(f"\n{point}: {found}\nagain: python -m tests.durability {again}", flush=True)
            _progress(number, len(points), wrong, began)
    reached = len(points) - missed
    print(f"\n{reached - wrong} of {reached} survived, {missed} not reached, in {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _progress(done: int, of: int, wrong: int, began: float) -> None:
    if sys.stderr.isatty():
        left = (time.monotonic() - began) / done * (of - done)
        sys.stderr.write(f"\r{done}/{of} points, {wrong} wrong, {left / 60:.0f} min left ")
        sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.durability",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--process", action="append", choices=PROCESSES, help="whose calls (default: both)")
    parser.add_argument("--how", action="append", choices=tuple(interposer.HOW), help="how to fail (default: all)")
    parser.add_argument("--from", dest="first", type=int, default=1, metavar="N", help="the first call (1)")
    parser.add_argument("--to", type=int, metavar="N", help="the last call (default: as many as there are)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="histories at the same time (2)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
