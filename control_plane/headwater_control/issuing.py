"""Where certificates are waited for: in a few threads of their own, as whoever signs them may be another machine."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from headwater_control.ports import CantIssue

_P = ParamSpec("_P")
_T = TypeVar("_T")

_WITHIN_S = 15.0
_THREADS = ThreadPoolExecutor(4, "issuing")  # one that hangs must hold up no more than certificates


async def issued(ask: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Ask an authority for a certificate; raise `CantIssue`, also if there is none in time."""
    asked = asyncio.get_running_loop().run_in_executor(_THREADS, lambda: ask(*args, **kwargs))
    try:
        async with asyncio.timeout(_WITHIN_S):
            return await asked
    except TimeoutError as error:
        raise CantIssue(f"the certificate authority has not answered within {_WITHIN_S:.0f} s") from error
