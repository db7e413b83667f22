"""Database calls that a cancellation does not tear apart."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finished(call: Coroutine[Any, Any, T]) -> T:
    """Await a call to its end, even when cancelled meanwhile; only then raise the cancellation.

    Interrupted in the middle of a statement, a SQLite connection goes on holding its lock until all that refers to the
    statement is collected, and one to PostgreSQL has to be thrown away. Every call has a deadline of the database's.
    """
    task = asyncio.ensure_future(call)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as again:
            cancelled = again
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: nobody is left to tell
        raise cancelled
    return task.result()
