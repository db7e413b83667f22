"""Blobs in memory: no thread, no fsync, no time but what is told. `scratch` holds what a child process must read."""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from headwater_control.ports import GRACE_S, Missing, TakenOver
from headwater_wire import digests
from headwater_wire.chunks import CHUNK_BYTES, Receiver
from headwater_wire.errors import DigestMismatch, LengthMismatch, Malformed
from headwater_wire.ids import Digest, check_digest
from headwater_wire.messages import Blob

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class MemoryBlobs:
    """The port `Blobs` on a dict."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.now_s = 0.0
        self.objects: dict[Digest, bytes] = {}
        self._unneeded: dict[Digest | tuple[str, Blob], float] = {}  # since when
        self._unfinished: dict[tuple[str, Blob], bytes] = {}
        self._open: dict[str, MemoryStaging] = {}

    async def put(self, data: bytes) -> Blob:
        """Store."""
        blob = digests.of_bytes(data)
        self.objects[blob.digest] = bytes(data)
        self._unneeded.pop(blob.digest, None)
        return blob

    async def adopt(self, path: Path) -> Blob:
        """Store a file's bytes; the file goes."""
        return await self.put(_taken(path))

    async def size(self, digest: Digest) -> int | None:
        """Tell a blob's size, or None."""
        data = self.objects.get(check_digest(digest))
        return None if data is None else len(data)

    def path(self, digest: Digest) -> Path:
        """Write the blob where a child can read it."""
        data = self.objects[check_digest(digest)]
        place = self.scratch / digest
        place.write_bytes(data)
        return place

    async def read(self, digest: Digest, offset: int = 0) -> AsyncIterator[bytes]:
        """Give the bytes from `offset` on."""
        data = self.objects[check_digest(digest)]
        for start in range(offset, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]

    async def damaged(self, wanted: Iterable[Digest]) -> tuple[Digest, ...]:
        """Name those that are not there, or that a test has written over."""
        return tuple(digest for digest in wanted if not self._is_sound(digest))

    def _is_sound(self, digest: Digest) -> bool:
        data = self.objects.get(digest)
        return data is not None and digests.of_bytes(data).digest == digest

    @asynccontextmanager
    async def stage(self, key: str, announced: Blob) -> AsyncIterator["MemoryStaging"]:
        """Open, or reopen, an unfinished upload."""
        if not _KEY.fullmatch(key):
            raise Malformed(f"{key[:80]!r} can't name an upload")
        check_digest(announced.digest)
        if older := self._open.get(key):
            older.taken_over = True
            self._keep(key, older)
        data = self._unfinished.pop((key, announced), b"")
        self._unneeded.pop((key, announced), None)
        staging = self._open[key] = MemoryStaging(self, announced, data)
        try:
            yield staging
        finally:
            staging.over = True
            if self._open.get(key) is staging:
                del self._open[key]
                self._keep(key, staging)

    async def delete(self, digest: Digest) -> None:
        """Forget."""
        self.objects.pop(check_digest(digest), None)

    async def sweep(self, live: frozenset[Digest], grace_s: float = GRACE_S) -> int:
        """Delete what no row has named for so long, and stale staging; raise `Missing`."""
        freed = sum(len(self._unfinished.pop(key)) for key in [*self._unfinished] if self._ripe(key, grace_s))
        if missing := live - self.objects.keys():
            raise Missing(missing)
        for digest in live:
            self._unneeded.pop(digest, None)
        dead = [digest for digest in self.objects if digest not in live and self._ripe(digest, grace_s)]
        return freed + sum(len(self.objects.pop(digest)) for digest in dead)

    def _ripe(self, key: Digest | tuple[str, Blob], grace_s: float) -> bool:
        return self.now_s - self._unneeded.setdefault(key, self.now_s) >= grace_s

    def _keep(self, key: str, staging: "MemoryStaging") -> None:
        if staging.data is not None:
            self._unfinished[key, staging.announced] = bytes(staging.data)


def _taken(path: Path) -> bytes:
    data = path.read_bytes()
    path.unlink()
    return data


class MemoryStaging:
    """The port `Staging` on a bytearray."""

    def __init__(self, blobs: MemoryBlobs, announced: Blob, data: bytes) -> None:
        self.announced = announced
        self.data: bytearray | None = bytearray(data)
        self.taken_over = False
        self.over = False
        self._blobs = blobs

    @property
    def offset(self) -> int:
        """Where the next byte belongs."""
        return len(self.data or b"")

    async def write(self, data: bytes) -> None:
        """Append."""
        held = self._usable()
        if len(held) + len(data) > self.announced.size:
            raise LengthMismatch(self.announced.size, len(held) + len(data))
        held.extend(data)

    async def path(self) -> Path:
        """Check the whole and write it where a child can read it."""
        data = self._verified()
        place = self._blobs.scratch / f"staged-{self.announced.digest}"
        place.write_bytes(data)
        return place

    async def commit(self) -> Blob:
        """Make it a blob."""
        data = self._verified()
        self.data = None
        return await self._blobs.put(data)

    def _verified(self) -> bytes:
        data = self._usable()
        receiver = Receiver(self.announced)
        receiver.feed(data)
        try:
            receiver.finish()
        except (DigestMismatch, LengthMismatch):
            self.data = None
            raise
        return bytes(data)

    def _usable(self) -> bytearray:
        if self.taken_over:
            raise TakenOver("a newer upload has taken over: end this one")
        if self.over or self.data is None:
            raise ValueError("the upload is over")
        return self.data
