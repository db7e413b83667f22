"""What may never return keeps nobody from ending."""

import asyncio
import subprocess
import sys
from threading import Event

import pytest
from headwater_agent.edges.aside import aside

ENDLESS = """
import asyncio
import threading
from contextlib import suppress
from headwater_agent.edges.aside import aside

async def main():
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await aside(threading.Event().wait)
    print("it goes on")

asyncio.run(main())
"""


async def test_what_it_gives_and_what_it_raises_comes_back() -> None:
    """As if it were called here."""
    assert await aside(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await aside(divmod, 7, 0)


async def test_an_answer_that_comes_when_nobody_waits_any_more_is_nothing() -> None:
    """Neither an error of the loop, nor one of the thread."""
    go_on, gone_on = Event(), Event()

    def late() -> None:
        go_on.wait()
        gone_on.set()

    trouble: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    waiting = asyncio.create_task(aside(late))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    go_on.set()
    await aside(gone_on.wait)
    await asyncio.sleep(0)
    assert trouble == []


def test_a_process_ends_though_a_call_never_does() -> None:
    """Neither the loop's end nor the interpreter's waits for it."""
    ended = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=20)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "it goes on\n", "")
