"""Throw random and damaged input at all that reads a stranger's bytes: `python -m tests.fuzz [NAME …]`.

Each target is run in a process of its own, two at a time. The promises are in the modules of tests/fuzzing: nothing
but the declared errors comes out, within bounded time and memory. The same seed makes the same inputs; an input that
breaks a promise is printed and can be tried again. `api` is the HTTP API by schemathesis.
"""

import argparse
import logging
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fuzzing.running import API, KINDS, Broken, Outcome, checked, opened, run, run_api

_AT_ONCE = 2
_POLL_S = 0.25
_STOP = -1
_done: Any = None  # in a child: how many inputs all of them have tried


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"any of {', '.join([*KINDS, API])} (all)")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many in all (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=40, help="requests a kind and operation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--replay", action="store_true", help="try one input again: its hex is read from stdin")
    wanted = parser.parse_args()
    names = wanted.names or [*KINDS, API]
    if unknown := set(names) - {*KINDS, API}:
        parser.error(f"there is nothing named {min(unknown)!r} to fuzz: choose from {', '.join([*KINDS, API])}")
    if wanted.replay:
        return _replay(names)
    began = time.perf_counter()
    try:
        outcomes = _run(names, wanted.inputs, wanted.examples, wanted.seed)
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    except BrokenProcessPool:
        print(
            "a process died: run the targets one by one to see which, then with --inputs to see where", file=sys.stderr
        )
        return 1
    for outcome in outcomes:
        _print(outcome)
    total = sum(outcome.inputs for outcome in outcomes)
    unbounded = [outcome.name for outcome in outcomes if not outcome.bounded]
    print(f"{total:,} inputs in {time.perf_counter() - began:.0f} s, seed {wanted.seed}: no promise was broken")
    if unbounded:
        print(f"memory was not bounded: {', '.join(unbounded)}", file=sys.stderr)
    return 1 if unbounded else 0


def _run(names: list[str], inputs: int, examples: int, seed: int) -> list[Outcome]:
    context = get_context("spawn")
    done = context.Value("q", 0)
    whole = sum(KINDS[name].share for name in names if name != API)
    counts = {name: max(1, inputs * KINDS[name].share // whole) for name in names if name != API}
    pool = ProcessPoolExecutor(_AT_ONCE, context, initializer=_begin, initargs=(done,), max_tasks_per_child=1)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with pool, Progress(*columns) as progress:
        jobs = [pool.submit(run_api, examples, seed, _go_on) for name in names if name == API]
        jobs += [pool.submit(run, name, count, seed, _tell) for name, count in counts.items()]
        bar = progress.add_task("inputs", total=sum(counts.values()))
        try:
            while _pending(jobs):
                progress.update(bar, completed=done.value)
            progress.update(bar, completed=done.value)
            return [job.result() for job in jobs]
        except BaseException:
            done.value = _STOP
            pool.shutdown(cancel_futures=True)
            raise


def _pending(jobs: list[Future[Outcome]]) -> bool:
    """Wait a little; raise what one of them raised."""
    finished, unfinished = wait(jobs, _POLL_S, FIRST_EXCEPTION)
    for job in finished:
        job.result()
    return bool(unfinished)


def _begin(done: Any) -> None:
    global _done
    _done = done
    logging.disable(logging.CRITICAL)  # what is refused is logged, too, a million times


def _tell(count: int) -> None:
    with _done.get_lock():
        if _done.value == _STOP:
            sys.exit("another one has failed")
        _done.value += count


def _go_on(_: int) -> None:
    _tell(0)  # requests are not among the inputs that the bar counts


def _replay(names: list[str]) -> int:
    if len(names) != 1 or names[0] not in KINDS:
        print("say which target the input is of: python -m tests.fuzz NAME --replay", file=sys.stderr)
        return 2
    data = bytes.fromhex(sys.stdin.read())
    with opened(names[0]) as target:
        print(checked(names[0], target, data, "this input"))  # a traceback is what is wanted here
    return 0


def _print(outcome: Outcome) -> None:
    print(
        f"{outcome.name:12} {outcome.inputs:9,} inputs in {outcome.seconds:4.0f} s; memory: "
        f"{outcome.peak_mib:4.0f} MiB at most, {outcome.growth_mib:4.0f} after the warm-up (limit {outcome.limit_mib})"
    )
    became = sorted(outcome.became.items(), key=lambda item: -item[1])
    print(" " * 13 + ", ".join(f"{word} {count:,}" for word, count in became))


if __name__ == "__main__":
    sys.exit(main())
