"""A machine that trains: how its Python is started, and what its worker makes of a job."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import headwater_agent
import headwater_wire
from headwater_agent.training import protocol
from headwater_agent.training.protocol import Stepped, Train, Trained

from tests.aarch64.cache import run
from tests.aarch64.debian import Debian

_TIMEOUT_S = 900.0
_ASKED = """\
import numpy, onnxruntime, platform
print(platform.machine(), platform.python_version(), numpy.__version__, onnxruntime.__version__)
"""


class WorkerFailed(Exception):
    """A worker did not do its job; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What is there to train with."""

    machine: str
    python: str
    numpy: str
    onnxruntime: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `Machine.ask` gave."""
        return cls(*text.split())


@dataclass(frozen=True, slots=True)
class Machine:
    """One way to start Python."""

    name: str
    python: tuple[str, ...]
    environment: Mapping[str, str]
    emulation: str = ""

    def ask(self) -> str:
        """Start ONNX Runtime and have it say its versions, for `Versions.read`; raise `CannotPrepare` if it can't."""
        advice = f"NumPy and ONNX Runtime must start on {self.name}"
        return run([*self.python, "-c", _ASKED], advice, env=self.environment, timeout_s=_TIMEOUT_S)

    def train(self, job: Train, on_step: Callable[[Stepped], None]) -> tuple[Trained, float]:
        """Have a worker of its own do a job; give its answer, and the seconds from its start to its end."""
        began = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            worker = subprocess.Popen(
                [*self.python, "-m", "headwater_agent.training.worker", "--confinement", "off"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=self.environment,
            )  # fmt: skip
            deadline = threading.Timer(_TIMEOUT_S, worker.kill)
            deadline.start()
            try:
                outcome = self._answer(worker, job, on_step, said)
            finally:
                deadline.cancel()
                worker.kill()
                worker.communicate()
        return outcome, time.perf_counter() - began

    def _answer(
        self, worker: subprocess.Popen[bytes], job: Train, on_step: Callable[[Stepped], None], said: BinaryIO
    ) -> Trained:
        assert worker.stdin is not None
        assert worker.stdout is not None
        with suppress(BrokenPipeError):  # that it is gone shows below, with what it said
            worker.stdin.write(protocol.dump(job))
            worker.stdin.flush()
        for line in worker.stdout:
            match protocol.load(line):
                case Stepped() as step:
                    on_step(step)
                case Trained() as outcome:
                    return outcome
                case other:
                    raise WorkerFailed(f"the worker on {self.name} answered {other}")
        said.seek(0)
        raise WorkerFailed(
            f"the worker on {self.name} ended with {worker.wait()} and no answer (the limit is {_TIMEOUT_S:.0f} s); "
            f"it said: {said.read()[-2000:].decode(errors='replace')}"
        )


def native() -> Machine:
    """Give the machine that this runs on."""
    return Machine("x86-64", (sys.executable,), dict(os.environ))


def emulated(debian: Debian, site: Path, cpu: str) -> Machine:
    """Give one of this machine's files and an emulated processor; it imports the same sources."""
    sources = (Path(package.__path__[0]).parent for package in (headwater_agent, headwater_wire))
    environment = {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(str(path) for path in (*sources, site)),
        "PYTHONNOUSERSITE": "1",
    }
    emulation = f"{cpu}, qemu {debian.emulator_version}"
    return Machine("aarch64", debian.command(cpu), environment, emulation)
