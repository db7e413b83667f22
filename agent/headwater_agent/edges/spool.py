"""Deltas on disk between their training and their receipt."""

import asyncio
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from headwater_wire import digests, durable
from headwater_wire.ids import TaskId
from headwater_wire.messages import Blob

from headwater_agent.ports import Damaged
from headwater_agent.training.heads import newest_step

_SUFFIX = ".delta"
_CHECKPOINTS = ".checkpoints"


class FolderSpool:
    """The `Spool` port over one folder; unfinished work lies in two others beside it."""

    def __init__(self, root: Path) -> None:
        self._spool = root / "spool"
        self._work = root / "work"
        self._guarded = root / "guarded"
        self._fresh: set[tuple[TaskId, str]] = set()
        for folder in (self._spool, self._work, self._guarded):
            durable.make_dirs(folder, private=True)

    def work_path(self, task: TaskId, attempt: int, *, guarded: bool = False) -> Path:
        """Name a fresh place, so that a child that outlived its agent can't write into another's delta.

        A guarded one has a folder of its own: a child that may write to a file's folder may keep the file open, and
        change it when it has been judged and moved.
        """
        folder = self._guarded if guarded else self._work
        return folder / f"{task}.{attempt}.{secrets.token_hex(4)}"

    async def adopt(self, task: TaskId, source: Path, delta: Blob) -> None:
        """Take a finished delta over, durably, instead of checkpoints; raise `Damaged` if it is not what was said."""
        await asyncio.to_thread(_check, source, delta)
        await asyncio.to_thread(durable.adopt, source, self._path(task))
        await asyncio.to_thread(shutil.rmtree, self.checkpoints(task), ignore_errors=True)
        self._fresh = {(other, digest) for other, digest in self._fresh if other != task} | {(task, delta.digest)}

    async def open(self, task: TaskId, delta: Blob) -> Path:
        """Give a delta's place; unless it was adopted just now its SHA-256 is checked: raise `Damaged`."""
        path = self._path(task)
        if (task, delta.digest) in self._fresh:
            self._fresh.remove((task, delta.digest))  # if this upload fails, perhaps for what the disk has done to it
        else:
            await asyncio.to_thread(_check, path, delta)
        return path

    async def discard(self, task: TaskId) -> None:
        """Delete a delta and checkpoints, as far as they are there."""
        self._fresh = {(other, digest) for other, digest in self._fresh if other != task}
        await asyncio.to_thread(durable.remove, self._path(task), durably=True)
        await asyncio.to_thread(shutil.rmtree, self.checkpoints(task), ignore_errors=True)

    async def free_bytes(self) -> int:
        """Tell how much the disk has room for."""
        return (await asyncio.to_thread(shutil.disk_usage, self._spool)).free

    def checkpoints(self, task: TaskId) -> Path:
        """Name a task's own folder, beside unfinished deltas."""
        return self._work / f"{task}{_CHECKPOINTS}"

    async def reached(self, task: TaskId) -> int:
        """Tell the step of the newest checkpoint in that folder; 0 without one."""
        return await asyncio.to_thread(newest_step, self.checkpoints(task))

    async def sweep(self, keep: Collection[TaskId], begun: Collection[TaskId] = ()) -> tuple[str, ...]:
        """Delete what no record tells of, and unfinished work but for the checkpoints of what has begun; name it."""
        self._fresh = {(task, digest) for task, digest in self._fresh if task in keep}
        wanted = {self._path(task) for task in keep} | {self.checkpoints(task) for task in begun}
        return await asyncio.to_thread(self._sweep, wanted)

    def _sweep(self, wanted: set[Path]) -> tuple[str, ...]:
        folders = (self._spool, self._work, self._guarded)
        orphans = [path for folder in folders for path in folder.iterdir() if path not in wanted]
        for path in orphans:
            if path.parent == self._work and path.is_dir():  # where a killed worker built its graphs
                shutil.rmtree(path, ignore_errors=True)
            with suppress(IsADirectoryError, PermissionError):  # not ours
                durable.remove(path)
        durable.sync_directory(self._spool)
        return tuple(sorted(path.name for path in orphans if not path.exists()))

    def _path(self, task: TaskId) -> Path:
        return self._spool / f"{task}{_SUFFIX}"


def _check(path: Path, delta: Blob) -> None:
    try:
        found = digests.of_file(path)
    except OSError as error:
        raise Damaged(f"the delta can't be read: {error.strerror}") from error
    if found != delta:
        raise Damaged(
            f"the delta is damaged: {found.size} bytes, SHA-256 {found.digest[:12]}… instead of {delta.size} bytes, "
            f"{delta.digest[:12]}…"
        )
