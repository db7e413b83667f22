"""A database call goes to its end, whoever stops waiting for it."""

import asyncio

import pytest
from headwater_control.edges.store.finished import finished

from tests.fakes.clock import settle


class Call:
    """A call that ends when the test says so."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.ended = False

    async def run(self, error: Exception | None = None) -> str:
        """Wait, then end."""
        await self.may_end.wait()
        self.ended = True
        if error is not None:
            raise error
        return "done"


async def test_a_result_or_an_error_comes_through() -> None:
    """Uncancelled, it is as if awaited."""
    call = Call()
    call.may_end.set()
    assert await finished(call.run()) == "done"
    with pytest.raises(OSError, match="full"):
        await finished(call.run(OSError("the disk is full")))


@pytest.mark.parametrize("error", [None, OSError("the disk is full")])
async def test_a_cancellation_waits_for_the_end(error: Exception | None) -> None:
    """However often it is cancelled the call goes on; when it has ended, well or not, the cancellation is raised."""
    call = Call()
    waiter = asyncio.create_task(finished(call.run(error)))
    await settle()
    for _ in range(3):
        waiter.cancel()
        await settle()
        assert not waiter.done()
        assert not call.ended
    call.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert call.ended
