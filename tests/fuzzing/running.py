"""A run of the fuzzer on one target: how many inputs, what became of them, and how much memory it took."""

import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fuzzing.certificates import Certificates
from tests.fuzzing.codec import Codec
from tests.fuzzing.conversations import Conversations
from tests.fuzzing.files import Files
from tests.fuzzing.graphs import Graphs
from tests.fuzzing.journals import Journals
from tests.fuzzing.messages import Messages
from tests.fuzzing.target import Target

API = "api"
GROWTH_LIMIT_MIB = 32  # after the warm-up: imports, caches and the allocator's own reserves are not what is looked for
_API_GROWTH_LIMIT_MIB = 128  # of which the control plane's is the least: hypothesis and schemathesis remember a lot
_SLOWEST_S = 10.0  # for one input, on a machine that has other work too
_BATCH = 200
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """A target, and how many of a thousand inputs it gets."""

    make: Callable[[Path], Target]  # with a folder of its own
    share: int


KINDS = {  # those that take longest first
    "broker": Kind(lambda _: Conversations(), 70),
    "codec": Kind(lambda _: Codec(), 360),
    "messages": Kind(lambda _: Messages(), 320),
    "files": Kind(Files, 100),
    "graphs": Kind(Graphs, 50),
    "certificates": Kind(lambda _: Certificates(), 60),
    "journals": Kind(Journals, 40),
}


class Broken(Exception):
    """A promise that an input breaks: the message says which, and how to try it again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was like. `growth_mib` is what memory grew by after the warm-up, its peaks included."""

    name: str
    inputs: int
    seconds: float
    became: dict[str, int]
    peak_mib: float
    growth_mib: float
    limit_mib: int = GROWTH_LIMIT_MIB

    @property
    def bounded(self) -> bool:
        """Say whether memory stayed within its limit."""
        return self.growth_mib <= self.limit_mib


class Memory:
    """This process's: what it was after the warm-up, and what it came to."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._base: float | None = None
        self._before = 0.0
        self.growth_mib = 0.0

    @property
    def peak_mib(self) -> float:
        """Tell the most it ever was."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def look(self, *, warm: bool) -> None:
        """Take note of it; what comes before it is `warm` counts as nothing."""
        now = self._process.memory_info().rss / _MIB
        if self._base is None and warm:
            self._base, self._before = now, self.peak_mib
        if self._base is not None:  # a peak between two looks is no less a peak
            self.growth_mib = max(self.growth_mib, now - self._base, self.peak_mib - self._before)


def run(name: str, inputs: int, seed: int, tell: Callable[[int], None] = lambda _: None) -> Outcome:
    """Give a target so many inputs; raise `Broken` at the first that breaks a promise."""
    memory = Memory()
    became: Counter[str] = Counter()
    began = time.perf_counter()
    with opened(name) as target:
        for start in range(0, inputs, _BATCH):
            source = random.Random(f"{name} {seed} {start}")
            for number in range(start, min(start + _BATCH, inputs)):
                data = target.make(source)
                became[checked(name, target, data, f"input {number} of seed {seed}")] += 1
            memory.look(warm=start >= inputs // 10)
            tell(min(_BATCH, inputs - start))
    seconds = time.perf_counter() - began
    return Outcome(name, inputs, seconds, dict(became), memory.peak_mib, memory.growth_mib)


@contextmanager
def opened(name: str) -> Iterator[Target]:
    """Give a target, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="headwater-fuzz-") as folder:
        yield KINDS[name].make(Path(folder))


def checked(name: str, target: Target, data: bytes, which: str) -> str:
    """Try one input; say what became of it, or raise `Broken`."""
    began = time.perf_counter()
    try:
        word = target.check(data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        raise Broken(_told(name, data, which, repr(error))) from error
    if (seconds := time.perf_counter() - began) > _SLOWEST_S:
        raise Broken(_told(name, data, which, f"it took {seconds:.0f} s"))
    return word


def run_api(examples: int, seed: int, tell: Callable[[int], None] = lambda _: None) -> Outcome:
    """Send so many requests of each kind to each operation of the HTTP API; raise what schemathesis raises."""
    from tests.fuzzing.api import Api  # a second of imports

    memory = Memory()
    began = time.perf_counter()

    def told(count: int) -> None:
        memory.look(warm=time.perf_counter() - began > 1)
        tell(count)

    with tempfile.TemporaryDirectory(prefix="headwater-fuzz-") as folder, Api(Path(folder)) as api:
        api.fuzz(examples, seed, told)
    seconds, sent = time.perf_counter() - began, api.answers
    return Outcome(API, sent.total(), seconds, dict(sent), memory.peak_mib, memory.growth_mib, _API_GROWTH_LIMIT_MIB)


def _told(name: str, data: bytes, which: str, error: str) -> str:
    again = f"to try it again: echo HEX | python -m tests.fuzz {name} --replay"
    return f"{name}, {which}: {error}\n{data.hex()}\n{again}"
