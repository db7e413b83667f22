"""Installed versions on disk: models/MODEL/versions/VERSION/model.onnx, and `current` beside them."""

import asyncio
import shutil
from pathlib import Path

from headwater_wire import digests, durable
from headwater_wire.ids import ModelName, VersionId
from headwater_wire.messages import Blob

FILE = "model.onnx"
# Whoever may come as far as this folder may read what is in it, though the agent's other files are its own (UMask=).
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644


class FolderShelf:
    """The `Shelf` port over one folder. Applications open MODEL/current/model.onnx."""

    def __init__(self, root: Path) -> None:
        self._root = root
        durable.make_dirs(root)
        root.chmod(_FOLDER_MODE)
        for model in root.iterdir():
            durable.sweep_temporaries(model)  # of a link that a kill left half-way

    async def find(self, model: ModelName, version: VersionId, onnx: Blob) -> Path | None:
        """Give the place of a version's model.onnx if it is here, whole."""
        path = self._path(model, version)
        return path if await asyncio.to_thread(_kept, path, onnx) else None

    async def put(self, model: ModelName, version: VersionId, onnx: Path) -> Path:
        """Take a checked model.onnx over, durably."""
        path = self._path(model, version)
        await asyncio.to_thread(_adopt, onnx, path, self._root)
        return path

    async def activate(self, model: ModelName, version: VersionId) -> None:
        """Point `current` at a version, at once and durably; keep the one before it, remove older ones."""
        await asyncio.to_thread(self._activate, self._root / model, version)

    def _activate(self, folder: Path, version: VersionId) -> None:
        current, previous = folder / "current", folder / "previous"
        before = _pointed(current)
        if before != version:
            # The older link first: a crash between the two leaves both at what was current, and nothing is lost.
            if before:
                durable.replace_symlink(previous, Path("versions") / before)
            durable.replace_symlink(current, Path("versions") / version)
        else:
            durable.sync_directory(folder)  # an earlier attempt may have ended just before
        keep = {version, _pointed(previous)}
        for old in (folder / "versions").iterdir():
            if old.name not in keep:
                shutil.rmtree(old, ignore_errors=True)

    def _path(self, model: ModelName, version: VersionId) -> Path:
        return self._root / model / "versions" / version / FILE


def _pointed(link: Path) -> str:
    return link.readlink().name if link.is_symlink() else ""


def _adopt(source: Path, target: Path, root: Path) -> None:
    durable.make_dirs(target.parent)
    for folder in target.parents[: len(target.relative_to(root).parts) - 1]:
        folder.chmod(_FOLDER_MODE)
    source.chmod(_FILE_MODE)
    durable.adopt(source, target)


def _kept(path: Path, onnx: Blob) -> bool:
    """Say whether a version is here, whole and for good: an earlier attempt may have ended before its last fsync."""
    if not _is(path, onnx):
        return False
    durable.make_dirs(path.parent)
    durable.sync_directory(path.parent)
    return True


def _is(path: Path, blob: Blob) -> bool:
    try:
        return path.stat().st_size == blob.size and digests.of_file(path) == blob
    except (FileNotFoundError, NotADirectoryError):
        return False
