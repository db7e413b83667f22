"""A place in a fake where a test holds up whoever passes."""

import asyncio


class Gate:
    """Open until it is closed; `reached` tells that somebody has come to it since."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    def close(self) -> None:
        """Let nobody through."""
        self.reached.clear()
        self._open.clear()

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()

    async def __call__(self) -> None:
        """Come to it, and pass when it is open."""
        self.reached.set()
        await self._open.wait()
