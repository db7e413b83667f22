"""What the training child may touch: said on its command line, and looked up anew before each job."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headwater_agent.config import Config
from headwater_agent.edges import room
from headwater_agent.training.protocol import DatasetConfig


@dataclass(frozen=True, slots=True)
class View:
    """How a child is started, and which files stand behind that: it sees no others, whatever takes their names."""

    arguments: tuple[str, ...]
    files: tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A box's datasets and `folders` to read, the folder `output` to write to; `mode` is one of confinement.MODES."""

    mode: str
    datasets: tuple[DatasetConfig, ...] = ()
    folders: tuple[Path, ...] = ()
    output: Path | None = None
    memory_bytes: int | None = None

    def view(self) -> View:
        """Look at what is there now. A child that was started with another view can't do the next job."""
        if self.mode == "off":
            return View(("--confinement", "off", *self._memory()), ())
        paths = tuple(dict.fromkeys([*self.folders, *(path for data in self.datasets for path in readable(data))]))
        arguments = ["--confinement", self.mode]
        for path in paths:
            arguments += ["--readable", str(path)]
        if self.output is not None:
            arguments += ["--output", str(self.output)]
        return View(
            (*arguments, *self._memory()), tuple(_identity(path) for path in (*paths, self.output) if path is not None)
        )

    def _memory(self) -> tuple[str, ...]:
        return () if self.memory_bytes is None else ("--memory-limit", str(self.memory_bytes))


def enclosure_of(config: Config, folders: tuple[Path, ...] = (), output: Path | None = None) -> Enclosure:
    """Say what a box's configuration lets its training child touch, and how much memory it may fill."""
    training = config.training
    memory_bytes = room.for_training(training.memory_mb, config.policy.memory_mb, present_bytes=room.present_bytes())
    return Enclosure(training.confinement, config.datasets, folders, output, memory_bytes)


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
