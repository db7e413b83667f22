"""Waiting for a condition, with a deadline instead of a guess."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE_S = 20.0
_LOOK_EVERY_S = 0.01


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return as soon as `condition` holds; fail, naming `what`, if it doesn't in time."""
    try:
        async with asyncio.timeout(patience_s):
            while True:
                held = condition()
                if held if isinstance(held, bool) else await held:
                    return
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError as error:
        raise AssertionError(f"not within {patience_s:g} s: {what}") from error


def until_now(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Do the same without an event loop."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s:g} s: {what}")
        time.sleep(_LOOK_EVERY_S)
