"""One history: a seed decides everything in it, and the first broken promise ends it."""

import gc
import logging
import random
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.simulation.blame import Listener
from tests.simulation.disk import Disks
from tests.simulation.fleet import Fleet
from tests.simulation.history import Broken, History
from tests.simulation.loop import SimulatedLoop


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed."""

    seed: int
    broken: str  # empty, or which promise, and how
    lines: tuple[str, ...]
    fingerprint: str
    merges: int
    crashes: int
    steps: int
    virtual_s: float


def play(seed: int, *, agents: int = 0) -> Outcome:
    """Let a seed's history happen; 0 agents: as many as it draws."""
    with _alone(seed), tempfile.TemporaryDirectory(dir=_memory(), prefix="simulation-") as folder:
        chance = Random(seed)
        loop = SimulatedLoop(chance)
        history = History(loop)
        listener = Listener(history)
        logging.root.addHandler(listener)
        disks = Disks(Path(folder))
        fleet = Fleet(chance, loop, history, disks, agents)
        try:
            with disks.heard():
                loop.run_until_complete(fleet.run())
                fleet.end()
        except Broken:
            pass
        except Exception as error:  # what happens to the simulation itself is told with its history
            history.broken = history.broken or f"no bug: {error!r}"
        finally:
            fleet.bury()
            loop.close()
            logging.root.removeHandler(listener)
    return Outcome(
        seed,
        history.broken,
        tuple(history.lines),
        history.fingerprint,
        len(fleet.control.promises.versions) - 1,
        sum(machine.lives - 1 for machine in (fleet.control, *fleet.boxes)),
        loop.steps,
        loop.now_s,
    )


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Keep the collector from having a say, and the log but for its errors, and seed the jitter of the code itself.

    A file that a cancelled step leaves open is closed by its last reference, as it is in a real process.
    """
    state, disabled = random.getstate(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # what the history before this one left: its world was still in use when it ended
            gc.freeze()  # for good: each collection looks at one history only
            random.seed(seed)
            yield
            gc.collect()
    finally:
        gc.enable()
        logging.disable(disabled)
        random.setstate(state)


def _memory() -> str | None:
    """Name a folder in memory, if the machine has one."""
    place = Path("/dev/shm")
    return str(place) if place.is_dir() else None
