"""Keeps a training's checkpoints: when one is due, where it lies, which of two is used, and when the training stops."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from headwater_wire import durable

from headwater_agent.core.policy import refusal
from headwater_agent.training import checkpoint
from headwater_agent.training.checkpoint import Place, Unusable
from headwater_agent.training.engine import Session, State
from headwater_agent.training.errors import Interrupted, NotPossible
from headwater_agent.training.heads import NAMES
from headwater_agent.training.protocol import Checkpoints

_SHARE = 20  # of the time: what is slow to write is written less often
_T = TypeVar("_T")
_log = logging.getLogger("headwater.worker")


class Keeper:
    """Keeps those of the training `of`; without a place to keep them it only hears whether it is `asked` to stop."""

    def __init__(
        self,
        kept: Checkpoints | None = None,
        of: str = "",
        asked: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        max_minutes: float = 0.0,
    ) -> None:
        self._kept = kept
        self._folder = Path(kept.folder) if kept else Path()
        self._of = of
        self._asked = asked
        self._clock = clock
        self._max_minutes = max_minutes
        self._saved_s = clock()
        self._apart_s = kept.every_s if kept else 0.0
        self._unsaved = 0  # steps
        self._next = NAMES[0]
        self._failing = False

    def recall(self) -> tuple[Place, State] | None:
        """Give the newest checkpoint that is whole and this training's own; delete what proves not to be.

        Of the older one no more is read than its head, unless the newest is damaged: two would fill the memory.
        """
        if self._kept is None:
            return None
        with suppress(OSError):  # a folder that can't be read holds nothing
            for path in self._newest_first():
                if found := _tried(lambda path=path: checkpoint.read(path, self._of)):  # type: ignore[misc]
                    self._next = NAMES[1 - NAMES.index(path.name)]
                    return found
                path.unlink(missing_ok=True)
        return None

    def _newest_first(self) -> list[Path]:
        """List this training's checkpoints by their heads; delete what is none."""
        steps: dict[Path, int] = {}
        for path in sorted(self._folder.iterdir()):
            place = _tried(lambda path=path: checkpoint.look(path, self._of)) if path.name in NAMES else None  # type: ignore[misc]
            if place is None:  # also a write that a kill cut short
                path.unlink(missing_ok=True)
            else:
                steps[path] = place.steps
        return sorted(steps, key=lambda path: -steps[path])

    def passed(self, place: Place, session: Session) -> None:
        """Hear of a step: write a checkpoint if one is due; raise `Interrupted`, after one, if asked to stop.

        Raise `NotPossible` if the training has taken longer by now than the box's owner allows.
        """
        if self._max_minutes and place.seconds > self._max_minutes * 60:
            raise NotPossible(refusal("max_minutes", f"is {self._max_minutes:g}, and the training took longer"))
        self._unsaved += 1
        if self._asked() or self._due():
            self._save(place, session)
        self.heed()

    def heed(self) -> None:
        """Raise `Interrupted` if asked to stop."""
        if self._asked():
            raise Interrupted

    def _due(self) -> bool:
        if self._kept is None:
            return False
        if self._kept.every_steps and self._unsaved >= self._kept.every_steps:
            return True
        return bool(self._kept.every_s) and self._clock() - self._saved_s >= self._apart_s

    def _save(self, place: Place, session: Session) -> None:
        """Write one in the place of the older; one that can't be written is only told of, as the training goes on."""
        if self._kept is None:
            return
        begun_s, self._unsaved = self._clock(), 0
        try:
            self._folder.mkdir(exist_ok=True)
            durable.sync_directory(self._folder.parent)  # else a power cut could take the folder, and all in it
            state = session.state()
            path = self._folder / self._next
            path.unlink(missing_ok=True)
            if _free_bytes(self._folder) < self._kept.keep_free_bytes + checkpoint.size_bytes(state):
                raise OSError(f"{self._kept.keep_free_bytes / 1e6:.0f} MB of the disk are to stay free")
            checkpoint.write(path, self._of, place, state)
        except OSError as error:
            if not self._failing:
                _log.warning("no checkpoint: %s; a training that is cut short begins further back", error)
            self._failing = True
            return
        finally:
            self._saved_s = self._clock()
            self._apart_s = max(self._kept.every_s, (self._saved_s - begun_s) * _SHARE)
        self._failing = False
        self._next = NAMES[1 - NAMES.index(self._next)]


def _tried(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except Unusable as error:
        _log.warning("a checkpoint is not used: %s", error)
        return None


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
