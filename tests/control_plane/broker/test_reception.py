"""How connections come in: in turn with all other work, on every address of a name, and to nothing if they must."""

import asyncio
import errno
import socket
import ssl
from contextlib import ExitStack

import pytest
from headwater_control.edges.broker.reception import reception

from tests.support.waiting import until

CROWD = 40


async def test_of_a_crowd_at_the_door_one_comes_in_each_turn() -> None:
    """However many wait, each turn of the loop takes in one: what else there is to do has its turn in between."""
    made: list[asyncio.Protocol] = []

    def factory() -> asyncio.Protocol:
        made.append(asyncio.Protocol())
        return made[-1]

    with ExitStack() as clients:
        async with reception("127.0.0.1", 0, factory, backlog=CROWD, tls=None, handshake_s=1.0) as port:
            for _ in range(CROWD):
                clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            most = turns = 0
            while len(made) < CROWD:
                before = len(made)
                await asyncio.sleep(0)
                most, turns = max(most, len(made) - before), turns + 1
            assert most == 1 and turns >= CROWD


async def test_a_name_is_listened_on_at_each_of_its_addresses_by_one_port() -> None:
    """As "localhost" may have two; an address that is taken raises OSError."""
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    async with reception("localhost", 0, asyncio.Protocol, backlog=1, tls=None, handshake_s=1.0) as port:
        for address in addresses:
            _, writer = await asyncio.open_connection(str(address), port)
            writer.close()
        with pytest.raises(OSError):
            async with reception("localhost", port, asyncio.Protocol, backlog=1, tls=None, handshake_s=1.0):
                pass


@pytest.mark.parametrize("missing", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_a_name_whose_other_address_this_machine_has_not_is_listened_on(
    monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    """As "localhost" where the kernel has no IPv6, or it is switched off; to have neither address raises OSError."""
    places = [(socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    found = [(family, socket.SOCK_STREAM, 6, "", place) for family, place in places]

    class WithoutIpv6(socket.socket):
        def __init__(self, family: int = -1, *given: int) -> None:
            if family == socket.AF_INET6 and missing == errno.EAFNOSUPPORT:
                raise OSError(missing, "no IPv6")
            super().__init__(family, *given)

        def bind(self, address: object, /) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(missing, "no IPv6")
            super().bind(address)  # type: ignore[arg-type]

    made: list[asyncio.Protocol] = []

    def factory() -> asyncio.Protocol:
        made.append(asyncio.Protocol())
        return made[-1]

    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        return list(found)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    with monkeypatch.context() as here:
        here.setattr(socket, "socket", WithoutIpv6)
        async with reception("localhost", 0, factory, backlog=1, tls=None, handshake_s=1.0) as port:
            here.undo()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            await until(lambda: bool(made), "it came in")
            writer.close()
    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    del found[1]
    with pytest.raises(OSError, match="no IPv6"):
        async with reception("localhost", 0, asyncio.Protocol, backlog=1, tls=None, handshake_s=1.0):
            pass


async def test_who_never_shakes_hands_is_let_go_and_keeps_nobody_waiting() -> None:
    """A silent connection is closed in time."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with reception("127.0.0.1", 0, asyncio.Protocol, backlog=9, tls=tls, handshake_s=0.2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5.0):
            assert await reader.read() == b""
        writer.close()
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "broker.welcome"], "all ended")
