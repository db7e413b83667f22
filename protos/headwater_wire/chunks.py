"""How a blob crosses a stream: cut into chunks, resumed at an offset, judged as a whole by its SHA-256. No I/O."""

import hashlib
from collections.abc import Iterator

from headwater_wire.errors import DigestMismatch, LengthMismatch
from headwater_wire.ids import Digest
from headwater_wire.messages import Blob

CHUNK_BYTES = 256 * 1024  # 128 KiB to 1 MiB are equally fast over gRPC, 4 MiB is slowest and over its default limit


def cut(data: bytes | bytearray | memoryview, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Cut into chunks: `bytes`, since a protobuf field takes neither memoryview nor bytearray."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), size):
        yield bytes(view[start : start + size])


class Receiver:
    """The receiving end of an announced blob: count and hash what arrives, from whatever was there before.

    Feed it first what an earlier attempt left, then the chunks. Whether that was good is said by `finish` alone.
    """

    def __init__(self, announced: Blob) -> None:
        self.announced = announced
        self._offset = 0
        self._hash = hashlib.sha256()

    @property
    def offset(self) -> int:
        """Where the next byte belongs: what to ask the sender for."""
        return self._offset

    def check_room(self, size: int) -> None:
        """Raise `LengthMismatch` if `size` more bytes would be more than announced."""
        if self._offset + size > self.announced.size:
            raise LengthMismatch(self.announced.size, self._offset + size)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; raise `LengthMismatch`, having taken none, if they are more than announced."""
        size = memoryview(data).nbytes
        self.check_room(size)
        self._hash.update(data)
        self._offset += size

    def finish(self) -> Blob:
        """Return the blob if all of it came, unharmed; else raise `LengthMismatch` or `DigestMismatch`."""
        if self._offset != self.announced.size:
            raise LengthMismatch(self.announced.size, self._offset)
        digest = Digest(self._hash.hexdigest())
        if digest != self.announced.digest:
            raise DigestMismatch(self.announced.digest, digest)
        return self.announced
