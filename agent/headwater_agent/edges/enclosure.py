"""What a child may touch for its job: said on its command line, and looked up anew before each job."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headwater_agent.config import Config
from headwater_agent.edges import room
from headwater_agent.training.protocol import Check, DatasetConfig, Inspect, Job, Protect, Train


@dataclass(frozen=True, slots=True)
class View:
    """How a child is started, and which files stand behind that: it sees no others, whatever takes their names."""

    arguments: tuple[str, ...]
    files: tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A box's datasets and `folders` to read, the folder `output` to write to; `mode` is one of confinement.MODES.

    Who opens graphs sees no dataset of those in `barred`: no task may use them.
    """

    mode: str
    datasets: tuple[DatasetConfig, ...] = ()
    folders: tuple[Path, ...] = ()
    output: Path | None = None
    memory_bytes: int | None = None
    barred: frozenset[str] = frozenset()

    def view(self, job: Job) -> View:
        """Look at what is there now for a job. A child that was started with another view can't do it.

        Only who trains sees both graphs and data. Who looks at data opens no graph, and sees just what was declared;
        who checks a model sees no data; who protects a delta sees that file, and writes where no other child does.
        """
        if self.mode == "off":
            return View(("--confinement", "off", *self._memory()), ())
        match job:
            case Train():
                allowed = [data for data in self.datasets if data.name not in self.barred]
                return self._view([*self.folders, *_files(allowed)], self.output)
            case Inspect(dataset):
                return self._view(_files([data for data in self.datasets if data == dataset]), None)
            case Check():
                return self._view(self.folders, None)
            case Protect():
                return self._view([Path(job.delta_path)], Path(job.protected_path).parent)

    def _view(self, readables: Iterable[Path], output: Path | None) -> View:
        paths = tuple(dict.fromkeys(readables))
        arguments = ["--confinement", self.mode]
        for path in paths:
            arguments += ["--readable", str(path)]
        if output is not None:
            arguments += ["--output", str(output)]
        return View(
            (*arguments, *self._memory()), tuple(_identity(path) for path in (*paths, output) if path is not None)
        )

    def _memory(self) -> tuple[str, ...]:
        return () if self.memory_bytes is None else ("--memory-limit", str(self.memory_bytes))


def enclosure_of(config: Config, folders: tuple[Path, ...] = (), output: Path | None = None) -> Enclosure:
    """Say what a box's configuration lets its training child touch, and how much memory it may fill."""
    training = config.training
    memory_bytes = room.for_training(training.memory_mb, config.policy.memory_mb, present_bytes=room.present_bytes())
    barred = frozenset(data.name for data in config.datasets if not config.policy.lets_use(data.name))
    return Enclosure(training.confinement, config.datasets, folders, output, memory_bytes, barred)


def _files(datasets: Iterable[DatasetConfig]) -> list[Path]:
    return [path for data in datasets for path in readable(data)]


def readable(dataset: DatasetConfig) -> Iterator[Path]:
    """Name a dataset's file, or its folder and what the symbolic links of its columns' files lead to."""
    folder = Path(dataset.path)
    yield folder
    if dataset.format == "idx":
        for name in (source for column in dataset.columns for source in column.source):
            for link in (folder / name, folder / f"{name}.gz"):
                if link.is_symlink():
                    yield Path(os.path.realpath(link))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
