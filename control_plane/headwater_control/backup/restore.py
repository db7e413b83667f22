"""Makes a data directory from a backup, and leaves a note for its first start."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree

from headwater_wire import durable, eras

from headwater_control.backup import manifest as manifests
from headwater_control.backup.manifest import BadBackup, Manifest, OnBytes, copied
from headwater_control.config import BadSetting
from headwater_control.datadir import RESTORING
from headwater_control.service.restoration import Restored

log = logging.getLogger(__name__)

_NOTE = "restored.json"
_ERA = "era"
_NUMBER = re.compile(r"[0-9]{1,10}")  # of seconds, since 1970


def restore(backup: Path, data: Path, *, on_bytes: OnBytes = lambda done, total: None) -> Manifest:
    """Check every file of a backup, then copy them to a new or empty folder; raise `BadBackup`, having left nothing.

    While it is not whole, also after a crash or a power cut, no control plane starts on it.
    """
    manifest = manifests.read(backup)
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise BadBackup(
            f"{data} is not empty: restore to a new folder, and move this one away first if it was its place"
        )
    if bad := list(manifests.damaged(backup, manifest, on_bytes)):
        raise BadBackup(f"{len(bad)} files of {backup} are missing or damaged, such as {bad[0]}: take another backup")
    was_there = data.exists()
    try:
        durable.make_dirs(data, private=True)
        durable.write(data / RESTORING, b"", private=True)
        for entry in manifest.files:
            if copied(backup / entry.path, data, entry.path) != entry:
                raise BadBackup(f"{entry.path} changed while it was copied: restore once more")
        for folder in {(data / entry.path).parent for entry in manifest.files} | {data}:
            durable.sync_directory(folder)
        durable.write(data / _ERA, f"{eras.restored(era_of(data), datetime.now(UTC))}\n".encode(), private=True)
        note = Restored(manifest.made_at, manifest.headwater, manifest.audit_entries, manifest.lacking)
        tree = {**asdict(note), "made_at": note.made_at.isoformat()}
        durable.write(data / _NOTE, json.dumps(tree).encode() + b"\n", private=True)
        durable.remove(data / RESTORING, durably=True)
    except BaseException as error:
        _undo(data, was_there=was_there)
        if isinstance(error, OSError):
            raise BadBackup(f"it can't be restored: {error}") from error
        raise
    return manifest


def _undo(data: Path, *, was_there: bool) -> None:
    """Leave nothing: last of all what says that the rest is not whole."""
    for place in data.iterdir() if data.is_dir() else ():
        if place.is_dir():
            rmtree(place, ignore_errors=True)
        elif place.name != RESTORING:
            place.unlink()
    durable.remove(data / RESTORING)
    if not was_there:
        rmtree(data, ignore_errors=True)


def era_of(data: Path) -> int:
    """Say which era the last restore of a data directory began; 0: there was none.

    If that can't be read any more, a new one begins: it is later than whatever a device was told in.
    """
    place = data / _ERA
    if not place.is_file():
        return 0
    told = place.read_text(encoding="ascii", errors="replace").strip()
    if _NUMBER.fullmatch(told):
        return int(told)
    log.warning("%s is damaged: devices that register begin an era of their own", place)
    return eras.restored(0, datetime.now(UTC))


@contextmanager
def noted(data: Path) -> Iterator[Restored | None]:
    """Give what the note of a restore says, if there is one; it is gone once the context was left well.

    Raises `BadSetting` if it can't be read: nothing has happened since the restore that another one would undo.
    """
    place = data / _NOTE
    if not place.is_file():
        yield None
        return
    try:
        tree = json.loads(place.read_text(encoding="utf-8"))
        note = Restored(
            made_at=datetime.fromisoformat(tree["made_at"]),
            headwater=str(tree["headwater"]),
            audit_entries=int(tree["audit_entries"]),
            lacking=tuple(str(digest) for digest in tree["lacking"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadSetting(f"{place} is damaged: empty the folder, and restore the backup again") from error
    yield note
    durable.remove(place, durably=True)
