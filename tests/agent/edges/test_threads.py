"""What may never return keeps nobody else waiting, and no process from ending."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from threading import Event

import pytest
from headwater_agent.edges.threads import Threads, use_threads

ENDLESS = """
import asyncio
import threading
from contextlib import suppress
from headwater_agent.edges import threads

async def main():
    threads.use_threads()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.to_thread(threading.Event().wait)
    print("it goes on")

threads._FAREWELL_S = 0.01
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
async def ours() -> AsyncIterator[Event]:
    """Use them, and let whatever hangs go on at last."""
    use_threads()
    go_on = Event()
    yield go_on
    go_on.set()


async def test_what_a_call_gives_and_what_it_raises_comes_back() -> None:
    """As if it were called here."""
    assert await asyncio.to_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(divmod, 7, 0)


async def test_however_many_hang_the_next_call_is_made(ours: Event) -> None:
    """A pool of threads would be used up."""
    hanging = [asyncio.create_task(asyncio.to_thread(ours.wait)) for _ in range(100)]
    async with asyncio.timeout(20):
        assert await asyncio.to_thread(divmod, 7, 2) == (3, 1)
    assert not any(call.done() for call in hanging)
    ours.set()
    assert all(await asyncio.gather(*hanging))


async def test_an_answer_that_comes_when_nobody_waits_any_more_is_nothing(ours: Event) -> None:
    """Neither an error of the loop, nor one of the thread."""
    trouble: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    waiting = asyncio.create_task(asyncio.to_thread(ours.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    ours.set()
    assert await asyncio.to_thread(ours.wait)
    assert trouble == []


def test_the_end_waits_for_what_is_under_way() -> None:
    """It is a write, perhaps."""
    begun, done = Event(), Event()

    def write() -> None:
        begun.wait()
        done.set()

    calls = Threads()
    calls.submit(write)
    calls.submit(begun.set)
    calls.shutdown()
    assert done.is_set()


def test_a_process_ends_though_a_call_never_does() -> None:
    """Neither the loop's end nor the interpreter's waits for it for long."""
    ended = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=20)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "it goes on\n", "")
