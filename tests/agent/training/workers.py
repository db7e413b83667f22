"""A real training child, driven line by line with deadlines."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from headwater_agent.training import protocol
from headwater_agent.training.protocol import Job, Reply, Stepped

DEADLINE_S = 60.0


class Worker:
    """One child. Ends with its context."""

    def __init__(
        self,
        engine: str = "portable",
        env: Mapping[str, str] | None = None,
        confinement: Sequence[str] = ("--confinement", "off"),
    ) -> None:
        self.steps: list[Stepped] = []
        self.stop_at_step: int | None = None  # ask a job to stop once it has told of this step
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "headwater_agent.training.worker", "--engine", engine, *confinement],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            bufsize=0,
        )

    def do(self, job: Job) -> Reply:
        """Send a job and wait for its end; the steps told on the way are in `steps`."""
        return self.say(protocol.dump(job))

    def say(self, line: bytes) -> Reply:
        """Send a line and wait for the job's end."""
        assert self.process.stdin is not None
        self.steps = []
        self.process.stdin.write(line)
        while True:
            message = protocol.load(self._line())
            match message:
                case Stepped():
                    self.steps.append(message)
                    if self.stop_at_step is not None and message.step >= self.stop_at_step:
                        self.stop_at_step = None
                        self.process.send_signal(signal.SIGTERM)
                case protocol.Train() | protocol.Inspect() | protocol.Check() | protocol.Protect():
                    raise AssertionError("a job for an answer")
                case _:
                    return message

    def end(self) -> tuple[int, str]:
        """Close its stdin; give its exit code and what it said on stderr."""
        _, told = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, told.decode()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        line, until = b"", time.monotonic() + DEADLINE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                assert selector.select(max(0.0, until - time.monotonic())), "the worker did not answer in time"
                byte = os.read(self.process.stdout.fileno(), 1)
                if not byte:
                    raise EOFError(f"the worker is gone: {self.end()}")
                line += byte
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
