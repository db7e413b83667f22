"""Makes a data directory from a backup, and leaves a note for its first start."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from shutil import rmtree

from headwater_wire import durable

from headwater_control.backup import manifest as manifests
from headwater_control.backup.manifest import BadBackup, Manifest, OnBytes, copied
from headwater_control.service.restoration import Restored

_NOTE = "restored.json"
_ERA = "era"


def restore(backup: Path, data: Path, *, on_bytes: OnBytes = lambda done, total: None) -> Manifest:
    """Check every file of a backup, then copy them to a new or empty folder; raise `BadBackup`, having left nothing."""
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
        for entry in manifest.files:
            if copied(backup / entry.path, data, entry.path) != entry:
                raise BadBackup(f"{entry.path} changed while it was copied: restore once more")
        for folder in {(data / entry.path).parent for entry in manifest.files} | {data}:
            durable.sync_directory(folder)
        durable.write(data / _ERA, f"{era_of(data) + 1}\n".encode(), private=True)
        note = Restored(manifest.made_at, manifest.headwater, manifest.audit_entries, manifest.lacking)
        tree = {**asdict(note), "made_at": note.made_at.isoformat()}
        durable.write(data / _NOTE, json.dumps(tree).encode() + b"\n", private=True)
    except BaseException as error:
        for place in [data] if not was_there else list(data.iterdir()):
            rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink()
        if isinstance(error, OSError):
            raise BadBackup(f"it can't be restored: {error}") from error
        raise
    return manifest


def era_of(data: Path) -> int:
    """Say how often a data directory was restored."""
    place = data / _ERA
    return int(place.read_text()) if place.is_file() else 0


@contextmanager
def noted(data: Path) -> Iterator[Restored | None]:
    """Give what the note of a restore says, if there is one; it is gone once the context was left well."""
    place = data / _NOTE
    if not place.is_file():
        yield None
        return
    tree = json.loads(place.read_text())
    yield Restored(
        made_at=datetime.fromisoformat(tree["made_at"]),
        headwater=tree["headwater"],
        audit_entries=tree["audit_entries"],
        lacking=tuple(tree["lacking"]),
    )
    durable.remove(place, durably=True)
