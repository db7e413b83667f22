"""A checkpoint's head: whose it is, and how far it has come. No numpy here: the daemon imports this module."""

import json
import struct
from pathlib import Path
from typing import IO, Any

MAGIC = b"headwater checkpoint 1\n"
NAMES = ("0", "1")  # of a training's checkpoints, never more: the older one makes room before the next is written
_LENGTH = struct.Struct("<I")
_MOST_BYTES = 1 << 20


def dump(head: dict[str, Any]) -> bytes:
    """Encode what a checkpoint begins with."""
    body = json.dumps(head).encode()  # a float comes back as it was
    return MAGIC + _LENGTH.pack(len(body)) + body


def load(file: IO[bytes]) -> dict[str, Any]:
    """Read what a checkpoint begins with, as far as what follows it; raise ValueError if it makes no sense."""
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("it is no checkpoint of this release")
    length = file.read(_LENGTH.size)
    if len(length) != _LENGTH.size or _LENGTH.unpack(length)[0] > _MOST_BYTES:
        raise ValueError("its head makes no sense")
    head = json.loads(file.read(_LENGTH.unpack(length)[0]))
    if not isinstance(head, dict):
        raise ValueError("its head makes no sense")
    return head


def newest_step(folder: Path) -> int:
    """Tell the step of the newest checkpoint in a folder, by their heads alone; 0 without one."""
    return max((_step(folder / name) for name in NAMES), default=0)


def _step(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return int(load(file)["place"]["steps"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return 0
