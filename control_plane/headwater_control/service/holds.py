"""Keeps a blob from being deleted while an upload of the same bytes is about to need it.

Blobs are content-addressed, so two tasks may share one: the deltas of a merged round are deleted while the next
round's arrive. This knows the uploads of this process; what other replicas still need, the database says.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from headwater_wire.ids import Digest


class Holds:
    """Digests that are held, and digests that are being deleted: never both."""

    def __init__(self) -> None:
        self._held: Counter[Digest] = Counter()
        self._deleting: set[Digest] = set()
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, digest: Digest) -> AsyncIterator[None]:
        """Keep a blob from deletion, from before it is stored until its row is committed."""
        async with self._changed:
            await self._changed.wait_for(lambda: digest not in self._deleting)
            self._held[digest] += 1
        try:
            yield
        finally:
            self._held[digest] -= 1
            if not self._held[digest]:
                del self._held[digest]

    @asynccontextmanager
    async def deleting(self, digests: Collection[Digest]) -> AsyncIterator[frozenset[Digest]]:
        """Give those of `digests` that nobody holds; nobody can hold them before the context is left."""
        mine = frozenset(digests) - self._held.keys() - self._deleting
        self._deleting |= mine
        try:
            yield mine
        finally:
            self._deleting -= mine
            async with self._changed:
                self._changed.notify_all()
