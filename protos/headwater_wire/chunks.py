"""How a blob crosses a stream: in chunks, resumed at an offset, judged as a whole by its SHA-256. No I/O."""

import hashlib

from headwater_wire.errors import DigestMismatch, LengthMismatch
from headwater_wire.ids import Digest
from headwater_wire.messages import Blob

CHUNK_BYTES = 512 * 1024  # equally fast on the wire from 128 KiB to 1 MiB; each costs a turn of two event loops


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
