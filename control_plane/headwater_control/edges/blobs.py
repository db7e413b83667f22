"""Blobs in a folder: `ab/abcdef…` by digest, durable on return, hashed and written in threads."""

import asyncio
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from headwater_wire import digests, durable
from headwater_wire.chunks import CHUNK_BYTES, Receiver
from headwater_wire.errors import DigestMismatch, LengthMismatch, Malformed
from headwater_wire.ids import Digest, check_digest
from headwater_wire.messages import Blob

from headwater_control.ports import GRACE_S, Missing, TakenOver

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class FolderBlobs:
    """The port `Blobs` on a folder that one process at a time uses."""

    def __init__(self, root: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._objects = root / "objects"
        self._staging = root / "staging"
        # A sweep must not delete what is put, or opened, between its look and its deed.
        self._shards = tuple(threading.Lock() for _ in range(256))
        self.staging_lock = threading.Lock()
        self._ready: set[Path] = set()
        self._open: dict[str, FolderStaging] = {}
        self._unneeded: dict[Path, float] = {}  # by sweeps, since when; whoever stores or opens it again takes it out

    async def put(self, data: bytes) -> Blob:
        """Store: durable on return."""
        return await asyncio.to_thread(self._put, data)

    async def adopt(self, path: Path) -> Blob:
        """Store a file of the same file system by moving it: durable on return."""
        return await asyncio.to_thread(self._adopt, path)

    async def size(self, digest: Digest) -> int | None:
        """Tell a blob's size, or None if there is none."""
        return await asyncio.to_thread(_size, self._place(digest))

    def path(self, digest: Digest) -> Path:
        """Name the blob's file; raise `KeyError` if there is none."""
        place = self._place(digest)
        if not place.is_file():
            raise KeyError(digest)
        return place

    async def read(self, digest: Digest, offset: int = 0) -> AsyncIterator[bytes]:
        """Give the bytes from `offset` on, in chunks of 512 KiB; raise `KeyError` if there is no such blob."""
        place = self._place(digest)
        while data := await asyncio.to_thread(_pread, place, offset):
            offset += len(data)
            yield data

    @asynccontextmanager
    async def stage(self, key: str, announced: Blob) -> AsyncIterator["FolderStaging"]:
        """Open, or reopen, an unfinished upload. A second one of the same key takes over: the first raises TakenOver.

        What was announced otherwise begins afresh. Leaving the context keeps what came, unless it was committed.
        """
        if not _KEY.fullmatch(key):
            raise Malformed(f"{key[:80]!r} can't name an upload: letters, digits, '.', '_' and '-', at most 128")
        check_digest(announced.digest)
        staging = FolderStaging(self, self._staging / f"{key}~{announced.digest}", announced)
        older, self._open[key] = self._open.get(key), staging
        try:
            await asyncio.to_thread(staging.open, older)
            yield staging
        finally:
            if self._open.get(key) is staging:
                del self._open[key]
            await asyncio.shield(asyncio.to_thread(staging.end, None))

    async def damaged(self, wanted: Iterable[Digest]) -> tuple[Digest, ...]:
        """Read whole blobs, and name those that are missing or, by what a disk has done, not what was stored."""
        return tuple([digest for digest in wanted if not await asyncio.to_thread(self._is_sound, digest)])

    async def delete(self, digest: Digest) -> None:
        """Forget; of what is not there, nothing."""
        await asyncio.to_thread(self._delete, digest)

    async def sweep(self, live: frozenset[Digest], grace_s: float = GRACE_S) -> int:
        """Delete what no row has named for `grace_s`, and stale staging; raise `Missing`, having deleted no blob."""
        uploading = frozenset(staging.place for staging in self._open.values())
        return await asyncio.to_thread(self._sweep, live, uploading, grace_s)

    def ensure(self, folder: Path) -> None:
        """Make a folder, once."""
        if folder not in self._ready:
            durable.make_dirs(folder, private=True)  # what boxes learnt is nobody else's, wherever the folder is
            self._ready.add(folder)

    def needed(self, place: Path) -> None:
        """Have sweeps begin anew with a file: the caller holds its lock."""
        self._unneeded.pop(place, None)

    def accept(self, source: Path, blob: Blob) -> Blob:
        """Move a verified file to its place, durably. If the blob is there already, it is replaced, and so healed."""
        place = self._place(blob.digest)
        with self._shard(blob.digest):
            self.needed(place)
            self.ensure(place.parent)
            durable.adopt(source, place)
        return blob

    def _put(self, data: bytes) -> Blob:
        blob = digests.of_bytes(data)
        place = self._place(blob.digest)
        with self._shard(blob.digest):
            self.needed(place)
            self.ensure(place.parent)
            durable.write(place, data)
        return blob

    def _adopt(self, path: Path) -> Blob:
        return self.accept(path, digests.of_file(path))

    def _is_sound(self, digest: Digest) -> bool:
        try:
            return digests.of_file(self._place(digest)).digest == digest
        except OSError:
            return False

    def _delete(self, digest: Digest) -> None:
        with self._shard(check_digest(digest)):
            durable.remove(self._place(digest))

    def _sweep(self, live: frozenset[Digest], uploading: frozenset[Path], grace_s: float) -> int:
        stale = [place for place in _files(self._staging) if place not in uploading]
        freed = sum(self._remove(place, self.staging_lock, grace_s) for place in stale)
        shards = [(lock, _files(self._objects / f"{number:02x}")) for number, lock in enumerate(self._shards)]
        there = {place.name for _, places in shards for place in places}
        if missing := frozenset(digest for digest in live - there if not self._is_there(digest)):
            raise Missing(missing)
        dead = [(place, lock) for lock, places in shards for place in places if place.name not in live]
        freed += sum(self._remove(place, lock, grace_s) for place, lock in dead)
        unneeded = {*stale, *(place for place, _ in dead)}
        for place in [place for place in list(self._unneeded) if place not in unneeded]:
            self.needed(place)
        return freed

    def _remove(self, place: Path, lock: threading.Lock, grace_s: float) -> int:
        """Delete what was found unneeded for long enough; return its size, or 0."""
        now_s = self._now_s()
        with lock:
            if now_s - self._unneeded.setdefault(place, now_s) < grace_s:
                return 0
            self.needed(place)
            size = _size(place) or 0
            durable.remove(place)
            return size

    def _is_there(self, digest: Digest) -> bool:
        try:
            return self._place(digest).is_file()
        except Malformed:  # a damaged row's
            return False

    def _shard(self, digest: Digest) -> threading.Lock:
        return self._shards[int(digest[:2], 16)]

    def _place(self, digest: Digest) -> Path:
        check_digest(digest)
        return self._objects / digest[:2] / digest


class FolderStaging:
    """The port `Staging` on a file. Its work runs in threads, which a cancelled call does not stop: hence the lock."""

    def __init__(self, blobs: FolderBlobs, place: Path, announced: Blob) -> None:
        self.place = place
        self._blobs = blobs
        self._announced = announced
        self._receiver = Receiver(announced)
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._over: Exception | None = None

    @property
    def offset(self) -> int:
        """Where the next byte belongs."""
        return self._receiver.offset

    async def write(self, data: bytes) -> None:
        """Append; raise `LengthMismatch` beyond the announced size, having taken nothing."""
        await asyncio.to_thread(self._write, data)

    async def path(self) -> Path:
        """Check length and SHA-256 of the whole and give its place, still unsynced; on a mismatch discard and raise."""
        return await asyncio.to_thread(self._verified)

    async def commit(self) -> Blob:
        """Make it a blob: durable on return."""
        return await asyncio.to_thread(self._commit)

    def open(self, older: "FolderStaging | None") -> None:
        """Take over from an older upload of the same key, and hash what is there."""
        if older is not None:
            older.end(TakenOver(f"a newer upload of {self.place.name.partition('~')[0]} has taken over: end this one"))
        with self._lock:
            if self._over is not None:
                raise self._over
            self._blobs.ensure(self.place.parent)
            with self._blobs.staging_lock:
                self._blobs.needed(self.place)
                self._descriptor = os.open(self.place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._descriptor).st_size > self._announced.size:
                os.ftruncate(self._descriptor, 0)
            while data := os.pread(self._descriptor, CHUNK_BYTES, self._receiver.offset):
                self._receiver.feed(data)

    def end(self, reason: Exception | None) -> None:
        """Wait for what a thread is doing and close the file, which stays; what is tried later raises `reason`."""
        with self._lock:
            self._over = self._over or reason or ValueError("the upload's context has ended")
            self._close()

    def _write(self, data: bytes) -> None:
        with self._lock:
            descriptor = self._usable()
            self._receiver.check_room(len(data))
            done = 0
            while done < len(data):  # at its place, so that what a full disk cut short is written over
                done += os.pwrite(descriptor, memoryview(data)[done:], self._receiver.offset + done)
            self._receiver.feed(data)

    def _verified(self) -> Path:
        with self._lock:
            return self._verify()

    def _commit(self) -> Blob:
        with self._lock:
            blob = self._blobs.accept(self._verify(), self._announced)
            self._close()
            return blob

    def _verify(self) -> Path:
        self._usable()
        try:
            self._receiver.finish()
        except (DigestMismatch, LengthMismatch):
            self._close()
            durable.remove(self.place)
            raise
        return self.place

    def _usable(self) -> int:
        if self._over is not None:
            raise self._over
        if self._descriptor is None:
            raise ValueError("the upload was committed or discarded already")
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _size(place: Path) -> int | None:
    try:
        return place.stat().st_size
    except FileNotFoundError:
        return None


def _pread(place: Path, offset: int) -> bytes:
    # Opened for each turn: a reader that goes away in the middle leaves no descriptor behind.
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise KeyError(place.name) from error
    try:
        return os.pread(descriptor, CHUNK_BYTES, offset)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
