"""Nobody waits for whoever reads the log."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from headwater_wire.logs import Queued

LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (\w+) (\S+): (.*)\n"
MANY = 5000  # what a pipe and the queue hold together is less

_DAEMON = """
import asyncio, logging, os, signal, sys
from headwater_wire import logs
from headwater_wire.signals import heard

async def work():
    stop = asyncio.Event()
    with heard({signal.SIGTERM: stop.set}):
        for number in range(int(sys.argv[1])):
            logging.info("line %d", number)
        print("it works", flush=True)
        await stop.wait()
        logging.info("it stops")

with logs.written("INFO"):
    asyncio.run(work())
"""
ENDINGS = {"": 0, "os._exit(3)": 3, "raise RuntimeError('why' * 100_000)": 1}


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@contextmanager
def logger(descriptor: int, most_lines: int = 1000) -> Iterator[logging.Logger]:
    """Lend one that nobody else listens to."""
    lent, handler = logging.Logger("lent"), Queued(descriptor, most_lines)
    lent.addHandler(handler)
    yield lent
    assert handler.end()


@contextmanager
def daemon(lines: int, ending: str, stderr: int) -> Iterator[subprocess.Popen[str]]:
    """Start one that works, until SIGTERM, and then ends so."""
    command = [sys.executable, "-c", _DAEMON + ending, str(lines)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "it works\n"
            yield process
        finally:
            process.kill()


def test_lines_come_in_order_and_as_their_formatter_has_them(tmp_path: Path) -> None:
    """With an exception's text, and whatever can't be encoded."""
    with (tmp_path / "log").open("wb") as file, logger(file.fileno()) as log:
        log.info("%s and %s", 1, 2)
        try:
            raise ValueError("why")
        except ValueError:
            log.exception("failed")
        log.info("\udcff")
    first, failed, *trace, why, last = (tmp_path / "log").read_text().splitlines()
    assert (first, failed, last) == ("1 and 2", "failed", r"\udcff")
    assert (trace[0], why) == ("Traceback (most recent call last):", "ValueError: why")


def test_a_full_pipe_holds_up_nobody_and_what_was_missed_is_told_in_its_place(pipe: tuple[int, int]) -> None:
    """Each line is either there, in order, or counted."""
    reads, writes = pipe
    with logger(writes) as log:
        for number in range(MANY):
            log.info("%0100d", number)  # returns, though nobody reads
        with os.fdopen(os.dup(reads)) as log_read:
            seen: list[int] = []
            missed = 0
            while not missed or seen[-1] + 1 + missed < MANY:
                line = log_read.readline()
                if tale := re.fullmatch(r"(\d+) lines were not logged: whoever reads them was too slow\n", line):
                    missed = int(tale[1])
                else:
                    seen.append(int(line))
                    assert seen[-1] == (seen[-2] + 1 if len(seen) > 1 else 0) + missed
                    missed = 0
            log.info("heard again")
            assert log_read.readline() == "heard again\n"


def test_after_a_loss_half_of_the_room_is_free_before_lines_are_taken_again(pipe: tuple[int, int]) -> None:
    """A reader that is a little too slow would else be told of a loss with every other line."""
    reads, writes = pipe
    with logger(writes, most_lines=4) as log, os.fdopen(os.dup(reads)) as log_read:

        def say(letters: str) -> None:
            for letter in letters:
                log.info(letter * 300_000)  # more than a pipe holds: until it is read, the writer waits with it

        def hear(letters: str) -> None:
            for letter in letters:
                assert log_read.readline() in (letter * 300_000 + "\n", letter * 299_999 + "\n")
            log_read.read(1)  # the next is being written

        say("a")
        log_read.read(1)
        say("bcdef")  # and f is missed
        hear("ab")  # now there is room for one: d and e wait
        say("g")
        hear("cd")
        say("h")
        assert log_read.readline() == "e" * 299_999 + "\n"
        assert log_read.readline() == "2 lines were not logged: whoever reads them was too slow\n"
        assert log_read.readline() == "h" * 300_000 + "\n"


@pytest.mark.parametrize(("ending", "code"), ENDINGS.items())
def test_a_process_that_ends_has_written_its_last_lines(ending: str, code: int) -> None:
    """However it ends; what Python says of a crash comes after them."""
    with daemon(200, ending, subprocess.PIPE) as process:
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=30)[1]
    log = [re.match(LINE, line) for line in told.splitlines(keepends=True)[:201]]
    assert [line and line.groups() for line in log] == [
        *(("INFO", "root", f"line {number}") for number in range(200)),
        ("INFO", "root", "it stops"),
    ]
    assert process.returncode == code
    assert (told.splitlines()[-1] == "RuntimeError: " + "why" * 100_000) == (code == 1)


@pytest.mark.parametrize("lines", [0, MANY])
@pytest.mark.parametrize(("ending", "code"), ENDINGS.items())
def test_a_process_whose_log_nobody_reads_works_and_ends(
    pipe: tuple[int, int], ending: str, code: int, lines: int
) -> None:
    """SIGTERM is heard; neither the log's last lines nor a traceback wait for a reader for ever."""
    with daemon(lines, ending, pipe[1]) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == code


def test_a_process_whose_stderr_is_closed_writes_nowhere(tmp_path: Path) -> None:
    """Its number is another file's by now."""
    script = (
        "import logging, sys; from headwater_wire import logs\n"
        "with open(sys.argv[1], 'w') as file, logs.written():\n"
        "    logging.warning('a line')\n"
        "    sys.exit(file.fileno())"
    )
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", script, str(tmp_path / "file")]
    assert subprocess.run(command, timeout=30).returncode == 2
    assert (tmp_path / "file").read_bytes() == b""
