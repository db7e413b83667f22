"""Bytes: immutable, content-addressed objects, and unfinished uploads of them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from headwater_wire.ids import Digest
from headwater_wire.messages import Blob

GRACE_S = 3000.0  # less than the hour between two sweeps, which another clock measures


class Staging(Protocol):
    """An unfinished upload: local and unsynced, so its offset is only a hint."""

    @property
    def offset(self) -> int: ...

    async def write(self, data: bytes) -> None:
        """Append; raise `LengthMismatch` beyond the announced size."""

    async def path(self) -> Path:
        """Check length and SHA-256 of the whole and give its place, still unsynced; on a mismatch discard and raise."""

    async def commit(self) -> Blob:
        """Make it a blob: durable on return."""


class TakenOver(Exception):
    """A newer upload with the same key has begun: this one is the trace of a broken connection."""


class Missing(Exception):
    """Blobs that are named, and not there."""

    def __init__(self, digests: frozenset[Digest]) -> None:
        super().__init__(f"{len(digests)} blobs that are needed are not there, such as {min(digests)}")
        self.digests = digests


class Blobs(Protocol):
    """Immutable, content-addressed objects."""

    async def put(self, data: bytes) -> Blob:
        """Store: durable on return."""

    async def adopt(self, path: Path) -> Blob:
        """Store a file of the same file system by moving it: durable on return."""

    async def size(self, digest: Digest) -> int | None:
        """Tell a blob's size, or None if there is none."""

    def path(self, digest: Digest) -> Path:
        """Name a local file with the blob's bytes, for a child process; raise `KeyError` if there is none."""

    def read(self, digest: Digest, offset: int = 0) -> AsyncIterator[bytes]:
        """Give the bytes from `offset` on, in chunks of 512 KiB; raise `KeyError` if there is no such blob."""

    def stage(self, key: str, announced: Blob) -> AbstractAsyncContextManager[Staging]:
        """Open, or reopen, an unfinished upload. Leaving the context keeps it, unless it was committed.

        A second one with the same key takes over: whatever the first does next raises `TakenOver`.
        """

    async def damaged(self, wanted: Iterable[Digest]) -> tuple[Digest, ...]:
        """Read whole blobs, and name those that are missing or, by what a disk has done, not what was stored."""

    async def delete(self, digest: Digest) -> None:
        """Forget; of what is not there, nothing."""

    async def sweep(self, live: frozenset[Digest], grace_s: float = GRACE_S) -> int:
        """Delete what no row names, and stale staging; return how many bytes that freed.

        It must have been found so for `grace_s` of this process's life, and not been put again: its row may be about
        to be committed, and the machine's clock may jump. Raises `Missing`, having deleted no blob, if a live one isn't
        there: whoever names what is not knows too little of what is.
        """
