"""Signals end a process once: whoever asks again does not disturb its end."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from headwater_wire.signals import heard

SIGNAL = signal.SIGUSR1


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = signal.getsignal(SIGNAL)
    yield
    signal.signal(SIGNAL, before)


async def test_its_handler_is_called_on_the_loop() -> None:
    """Each signal has its own."""
    called = asyncio.Event()
    with heard({SIGNAL: called.set}):
        os.kill(os.getpid(), SIGNAL)
        await asyncio.wait_for(called.wait(), 10)


def test_a_second_one_while_the_loop_closes_is_ignored(capfd: pytest.CaptureFixture[str]) -> None:
    """By default this signal ends a process; to a handler left on a closed loop Python objects."""

    async def main() -> None:
        with heard({SIGNAL: lambda: None}):
            pass

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    os.kill(os.getpid(), SIGNAL)
    assert signal.getsignal(SIGNAL) is signal.SIG_IGN
    assert capfd.readouterr().err == ""


async def test_what_comes_after_an_error_is_ignored_too() -> None:
    """However the work ends, it has ended."""
    with pytest.raises(RuntimeError), heard({SIGNAL: lambda: None}):
        raise RuntimeError
    os.kill(os.getpid(), SIGNAL)
