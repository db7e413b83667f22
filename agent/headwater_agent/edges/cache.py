"""Blobs by digest on disk: fetched with resume, trusted only after their SHA-256 was checked in this life."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Collection
from contextlib import aclosing
from pathlib import Path
from typing import IO

from headwater_wire import digests, durable
from headwater_wire.errors import LengthMismatch
from headwater_wire.ids import Digest
from headwater_wire.messages import Blob

from headwater_agent.ports import Gone, Unavailable, Uplink

WRONG_AT_MOST = 5  # of a link that damages now and then; what the control plane has damaged comes so each time
_PART = ".part"
_log = logging.getLogger(__name__)


class FolderCache:
    """The `Cache` port over one folder."""

    def __init__(self, root: Path, uplink: Uplink) -> None:
        self._root = root
        self._uplink = uplink
        self._checked: set[Digest] = set()
        self._wrong: Counter[Digest] = Counter()  # times in a row that something else came whole
        self._locks: defaultdict[Digest, asyncio.Lock] = defaultdict(asyncio.Lock)
        durable.make_dirs(root, private=True)

    async def get(self, blob: Blob, *, durably: bool) -> Path:
        """Fetch what is missing of a blob, check its SHA-256, give its place; raise `Gone` if another keeps coming."""
        path = self._root / blob.digest
        async with self._locks[blob.digest]:
            if blob.digest in self._checked and path.exists():
                return path
            if await asyncio.to_thread(_is, path, blob):
                self._checked.add(blob.digest)
                return path
            part = self._root / f"{blob.digest}{_PART}"
            await self._fetch(blob, part)
            if not await asyncio.to_thread(_is, part, blob):
                part.unlink(missing_ok=True)
                raise self._another(blob, f"what came as {blob.digest[:12]}… has another SHA-256")
            self._wrong.pop(blob.digest, None)
            if durably:
                await asyncio.to_thread(durable.adopt, part, path)
            else:
                part.replace(path)  # whatever a power loss does to it, the next life checks it
            self._checked.add(blob.digest)
            return path

    async def prune(self, keep: Collection[Digest]) -> None:
        """Delete all others, but for unfinished ones that a fetch is working on."""
        busy = {digest for digest, lock in self._locks.items() if lock.locked()}
        for digest in [digest for digest in self._locks if digest not in busy]:
            del self._locks[digest]
        self._checked &= set(keep)
        for digest in self._wrong.keys() - {*keep, *busy}:
            del self._wrong[digest]
        await asyncio.to_thread(self._prune, {*keep, *busy})

    def _prune(self, keep: set[Digest]) -> None:
        for path in self._root.iterdir():
            if path.is_file() and path.name.removesuffix(_PART) not in keep:
                path.unlink(missing_ok=True)

    async def _fetch(self, blob: Blob, part: Path) -> None:
        with await asyncio.to_thread(part.open, "ab") as file:
            if file.tell() >= blob.size:  # a damaged one: the size alone shows that it can't be resumed
                file.truncate(0)
            offset = file.tell() if file.tell() < blob.size else 0
            file.seek(offset)
            async with aclosing(self._uplink.fetch(blob.digest, offset)) as chunks:
                async for chunk in chunks:
                    offset += len(chunk)
                    if offset > blob.size:
                        file.truncate(0)
                        raise self._another(blob, str(LengthMismatch(blob.size, offset)))
                    await asyncio.to_thread(_write, file, chunk)
        if offset < blob.size:
            raise self._another(blob, f"the control plane sent {offset} of {blob.size} bytes")

    def _another(self, blob: Blob, found: str) -> Unavailable | Gone:
        """Have it fetched again; after so many times what is there is no such blob. Who asks later begins anew."""
        self._wrong[blob.digest] += 1
        if self._wrong[blob.digest] < WRONG_AT_MOST:
            return Unavailable(f"{found}: fetching it again")
        del self._wrong[blob.digest]
        return Gone(f"{found}, {WRONG_AT_MOST} times in a row")


def _write(file: IO[bytes], chunk: bytes) -> None:
    file.write(chunk)


def _is(path: Path, blob: Blob) -> bool:
    try:
        return path.stat().st_size == blob.size and digests.of_file(path) == blob
    except FileNotFoundError:
        return False
