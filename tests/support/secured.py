"""The admin API as it is served in the open: TLS by a CA of its own, and a door; in a thread of the test's process."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from headwater_control.core.authority import Role
from headwater_control.edges.ca import embedded
from headwater_control.edges.clock import SystemClock
from headwater_control.gates.http import listen
from headwater_control.gates.http.app import create
from headwater_control.gates.http.auth import Door
from headwater_control.service import tokens

from tests.fakes.world import Box, fake_world

_WITHIN_S = 30.0


@dataclass(frozen=True)
class Secured:
    """A control plane: its address, the SHA-256 of its root, that as a file, and tokens by role."""

    url: str
    fingerprint: str
    ca: Path
    tokens: dict[str, str]


@contextmanager
def secured(folder: Path) -> Iterator[Secured]:
    """Serve while the context lasts; there is a device, and a token for each role."""
    ready: list[Secured] = []
    up = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        world = replace(fake_world(folder), clock=SystemClock(), issuer=embedded(folder / "real-ca", datetime.now(UTC)))
        await Box(world, "box-1", {"site": "north"}).register()
        given = {role.value: (await tokens.create(world, f"the-{role}", role))[1] for role in Role}
        (folder / "root.pem").write_bytes(world.issuer.root_pem)
        with listen.bound("127.0.0.1", 0) as listening:
            url = f"https://127.0.0.1:{listening.getsockname()[1]}"
            async with listen.served(create(world, door=Door()), listening, _context(folder)):
                ready.append(Secured(url, world.issuer.fingerprint.hex(), folder / "root.pem", given))
                up.set()
                await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert up.wait(_WITHIN_S), "it did not start"
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_WITHIN_S)
        loop.close()


def _context(folder: Path) -> ssl.SSLContext:
    leaf = embedded(folder / "real-ca", datetime.now(UTC)).server(["127.0.0.1", "localhost"], datetime.now(UTC))
    (folder / "leaf.pem").write_bytes(leaf.chain + leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    return context
