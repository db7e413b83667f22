"""The way up as fakes: one that answers by a script, and one that serves blobs as well."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from headwater_agent.ports import Gone, Unavailable, freely
from headwater_wire import digests
from headwater_wire.ids import Digest, TaskId
from headwater_wire.messages import Offer, Receipt, ReceiptKind, SyncAnswer, SyncRequest

from tests.fakes.gate import Gate
from tests.support.cutting import cut

_CHUNK = 1000
_T = TypeVar("_T")


@dataclass
class ScriptedUplink:
    """Answers in order what the script holds for each call; an exception is raised."""

    answers: list[SyncAnswer | Exception] = field(default_factory=list)
    receipts: list[Receipt | Exception] = field(default_factory=list)
    requests: list[SyncRequest] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    committed: set[TaskId] = field(default_factory=set)

    async def sync(self, request: SyncRequest) -> SyncAnswer:
        """Answer."""
        self.requests.append(request)
        return _next(self.answers)

    async def upload(
        self, offer: Offer, path: Path, sent: Callable[[int], None], wanted: Callable[[], Awaitable[None]] = freely
    ) -> Receipt:
        """Take it, or not: only what is committed for the first time is read and sent."""
        self.offers.append(offer)
        answer = self.receipts[0]
        if isinstance(answer, Receipt) and answer.kind is ReceiptKind.COMMITTED and offer.task not in self.committed:
            if digests.of_file(path) != offer.delta:
                raise Unavailable("ABORTED: another digest")
            await wanted()
            self.committed.add(offer.task)
            sent(offer.delta.size)
        return _next(self.receipts)


@dataclass
class ServingUplink(ScriptedUplink):
    """Serves blobs as well; a fetch passes `gate` and breaks after its first chunk by what is in `troubles`."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    troubles: list[Exception] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)

    async def fetch(self, digest: Digest, offset: int) -> AsyncGenerator[bytes, None]:
        """Give the bytes, in small chunks."""
        if digest not in self.blobs:
            raise Gone("no such blob")
        data = self.blobs[digest]
        if offset > len(data):
            raise Unavailable(f"there is nothing beyond byte {len(data)}")
        for chunk in cut(data[offset:], _CHUNK):
            yield chunk
            await self.gate()
            if self.troubles:
                raise self.troubles.pop(0)


def _next(script: list[_T | Exception]) -> _T:
    answer = script.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer
