"""What names a content: its SHA-256, and its length."""

import hashlib
from pathlib import Path

from headwater_wire.ids import Digest
from headwater_wire.messages import Blob


def of_bytes(data: bytes | bytearray | memoryview) -> Blob:
    """Describe bytes."""
    return Blob(Digest(hashlib.sha256(data).hexdigest()), memoryview(data).nbytes)


def of_file(path: Path) -> Blob:
    """Describe a file, in constant memory."""
    with path.open("rb") as file:
        return Blob(Digest(hashlib.file_digest(file, "sha256").hexdigest()), file.tell())
