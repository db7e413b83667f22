"""A proxy for tests that have no event loop: it runs in a thread of its own."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from typing import Any, TypeVar

from tests.faults.faults import Faults
from tests.faults.proxy import Proxy, Tally, proxy

_PATIENCE_S = 10.0
_T = TypeVar("_T")


class Running:
    """A proxy that runs. Its port stays until the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inner: Proxy) -> None:
        self._loop = loop
        self._inner = inner

    @property
    def address(self) -> str:
        """Tell where it listens, as host:port."""
        return f"127.0.0.1:{self._inner.port}"

    @property
    def tally(self) -> Tally:
        """Tell what was done."""
        return self._call(lambda: self._inner.tally)

    def set(self, **faults: Any) -> None:
        """Do these too from now on."""
        self._call(lambda: self._inner.set(replace(self._inner.faults, **faults)))

    def freeze(self) -> None:
        """Forward nothing, and keep the connections."""
        self.set(frozen=True)

    def thaw(self) -> None:
        """Forward again, what was held up first."""
        self.set(frozen=False)

    def heal(self) -> None:
        """Do no harm any more."""
        self._call(lambda: self._inner.set(Faults()))

    def cut(self, *, fin: bool = False) -> int:
        """End every connection; give their number."""
        return self._call(lambda: self._inner.cut(fin=fin))

    def _call(self, work: Callable[[], _T]) -> _T:
        async def there() -> _T:
            return work()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(_PATIENCE_S)


@contextmanager
def running(address: str, faults: Faults | None = None, *, mqtt: bool = False, seed: int = 0) -> Iterator[Running]:
    """Carry connections to `address` (host:port) while the context lasts."""
    host, _, port = address.rpartition(":")
    up: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Proxy]] = Future()

    async def live() -> None:
        down = asyncio.Event()
        async with proxy(host, int(port), faults=faults, mqtt=mqtt, seed=seed) as inner:
            up.set_result((asyncio.get_running_loop(), down, inner))
            await down.wait()

    thread = Thread(target=lambda: asyncio.run(live()), name="fault.proxy", daemon=True)
    thread.start()
    loop, down, inner = up.result(_PATIENCE_S)
    try:
        yield Running(loop, inner)
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join(_PATIENCE_S)
