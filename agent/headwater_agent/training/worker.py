"""The training child: jobs in on stdin, replies out on what was stdout, one JSON line each, until stdin closes.

What it imports up here starts no thread: it confines itself first, and then imports the rest.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from headwater_wire.crashpoint import crashpoint
from headwater_wire.telemetry import tell_nobody

from headwater_agent.training import confinement, io_priority, limits, protocol
from headwater_agent.training.engines import MEMORY, NAMES, engine
from headwater_agent.training.errors import Interrupted, NotPossible, WentWrong
from headwater_agent.training.lifeline import die_with_parent
from headwater_agent.training.protocol import Broke, Inspect, Job, Refused, Reply, Stepped, Stopped
from headwater_agent.training.wish import Wish

if TYPE_CHECKING:
    from headwater_agent.training.desk import Desk

NO_MEMORY = (
    "it needs more memory than this box gives to training (training.memory_mb, by default half of what there is, and "
    'policy.memory_mb): use a smaller batch, a smaller model, or training.memory = "small"'
)
_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")  # as ONNX Runtime spells it
_PROGRESS_EVERY_S = 0.25
_log = logging.getLogger("headwater.worker")


class Line:
    """The way back to the daemon, on a descriptor of its own."""

    def __init__(self, out: BinaryIO, parent: int) -> None:
        self._out = out
        self._parent = parent
        self._quiet_until = 0.0

    def step(self, message: Stepped) -> None:
        """Tell of a job's first step, and of others unless one was told a moment ago; end if nobody listens."""
        if os.getppid() != self._parent:
            raise SystemExit("the agent is gone")
        if message.step == 1 or time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _PROGRESS_EVERY_S
            self.send(message)

    def send(self, message: Reply) -> None:
        """Write one line."""
        self._out.write(protocol.dump(message))
        self._out.flush()


def main() -> None:
    """Serve until stdin closes."""
    arguments = argparse.ArgumentParser(prog="headwater_agent.training.worker", description=__doc__)
    arguments.add_argument("--engine", choices=NAMES, default="portable")
    arguments.add_argument("--memory", choices=MEMORY, default="normal")
    arguments.add_argument("--confinement", choices=confinement.MODES, default="preferred")
    arguments.add_argument("--readable", action="append", type=Path, default=[], metavar="PATH", help="may be repeated")
    arguments.add_argument("--output", type=Path, metavar="FOLDER", help="the only place to write to")
    arguments.add_argument("--output-limit", type=int, default=limits.OUTPUT_BYTES, metavar="BYTES")
    arguments.add_argument("--memory-limit", type=int, metavar="BYTES")
    arguments.add_argument("--io-priority", choices=io_priority.NAMES, default="normal")
    chosen = arguments.parse_args()
    parent = os.getppid()
    limits.go_first()
    io_priority.lower(chosen.io_priority)
    die_with_parent()  # the closed stdin and Line.step end it too, but only between two steps
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the agent decides
    wish = Wish()
    wish.listen()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    jobs, out = take_descriptors()
    line = Line(out, parent)
    tell_nobody()
    os.environ.pop("ORT_LOAD_CONFIG_FROM_MODEL", None)  # a model brings numbers, no settings
    objection = confinement.objection(chosen.confinement)
    if chosen.confinement != "off":
        confine(chosen)
    elif chosen.memory_limit is not None:
        limits.restrict_memory(chosen.memory_limit)
    from headwater_agent.training.desk import Desk  # only now: NumPy starts threads, which would stay unconfined

    desk = Desk(lambda: engine(chosen.engine, chosen.memory), wish)
    with suppress(BrokenPipeError):  # nobody listens any more
        for text in jobs:
            reply = answer(text, desk, line, objection)
            wish.forget()  # not before: the wish that the first job stops may have come while all this was imported
            line.send(reply)
    desk.close()


def confine(chosen: argparse.Namespace) -> None:
    """Give up what the jobs don't need."""
    output = (chosen.output,) if chosen.output else ()
    for path in output:
        tempfile.tempdir = str(path)  # where the native engine builds its graphs
    grounds = confinement.Grounds(tuple(chosen.readable), output)
    confinement.confine(grounds, output_bytes=chosen.output_limit, memory_bytes=chosen.memory_limit)


def answer(text: bytes, desk: "Desk", line: Line, objection: str = "") -> Reply:
    """Do the job in a line; an objection is to all that reads what came from the network.

    Whatever happens there is an answer, and it is a sentence.
    """
    try:
        job = _job(text)
        if objection and not isinstance(job, Inspect):
            return Refused(objection)
        reply = desk.do(job, line.step)
    except Interrupted:
        return Stopped()
    except NotPossible as error:
        return Refused(str(error))
    except WentWrong as error:
        return Broke(str(error))
    except MemoryError:
        desk.close()
        return Broke(NO_MEMORY)
    except Exception as error:
        if any(sign in str(error) for sign in _OUT_OF_MEMORY):
            desk.close()
            return Broke(NO_MEMORY)
        _log.exception("a job broke")
        desk.close()  # whatever state it left behind
        return Broke(f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
    crashpoint("train.done")
    return reply


def _job(text: bytes) -> Job:
    try:
        job = protocol.load(text)
    except ValueError as error:
        raise NotPossible(str(error)) from error
    if not isinstance(job, Job):
        raise NotPossible(f"{type(job).__name__} is no job")
    return job


def take_descriptors() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for the protocol, and let libraries that print do so on stderr."""
    jobs, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return jobs, out


if __name__ == "__main__":
    main()
