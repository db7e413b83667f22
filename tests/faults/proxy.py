"""A TCP proxy that does wrong on purpose, while it runs."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from random import Random

from tests.faults.faults import Faults
from tests.faults.flow import Flow
from tests.faults.packets import Packets

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST


@dataclass(frozen=True, slots=True)
class Tally:
    """What has passed, and what was done to it, since the start."""

    connections: int = 0  # ever
    live: int = 0
    carried_bytes: int = 0
    cuts: int = 0
    flipped: int = 0
    duplicated: int = 0
    reordered: int = 0


class Proxy:
    """Carries connections to one address. `mqtt`: what passes is MQTT without TLS, so that packets may be touched."""

    def __init__(self, host: str, port: int, faults: Faults, *, mqtt: bool, seed: int) -> None:
        self._to = (host, port)
        self._faults = faults
        self._mqtt = mqtt
        self._random = Random(seed)
        self._flowing = asyncio.Event()
        self._live: set[_Connection] = set()
        self._ended = Tally()
        self.port = 0
        self.set(faults)

    @property
    def faults(self) -> Faults:
        """Tell what is being done."""
        return self._faults

    @property
    def tally(self) -> Tally:
        """Tell what was done."""
        told = self._ended
        for live in self._live:
            told = live.added_to(told)
        return replace(told, live=len(self._live))

    def set(self, faults: Faults) -> None:
        """Do these from now on, to what is connected too; raise ValueError if they need packets and there are none."""
        if faults.of_packets and not self._mqtt:
            raise ValueError("to duplicate or reorder, say at the start that this is MQTT without TLS (--mqtt)")
        self._faults = faults
        if faults.frozen:
            self._flowing.clear()
        else:
            self._flowing.set()

    def cut(self, *, fin: bool = False) -> int:
        """End every connection, by RST or by FIN; give their number."""
        for connection in tuple(self._live):
            connection.cut(fin=fin)
        return len(self._live)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        with self._counted(_Connection(self, reader, writer)) as connection:
            await connection.run()

    @contextmanager
    def _counted(self, connection: "_Connection") -> Iterator["_Connection"]:
        self._live.add(connection)
        try:
            yield connection
        finally:
            self._live.discard(connection)
            self._ended = connection.added_to(self._ended)

    def flow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: "_Connection") -> Flow:
        """Make one direction of a connection."""
        packets = Packets(Random(self._random.random())) if self._mqtt else None
        if packets:
            connection.packets.append(packets)
        chance = Random(self._random.random())
        return Flow(reader, writer, lambda: self._faults, self._flowing, chance, packets, connection.carry)

    async def upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to where it goes, once there is no freeze."""
        await self._flowing.wait()
        return await asyncio.open_connection(*self._to)


class _Connection:
    """One accepted connection and the one made for it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._ends = [writer]
        self._flows: list[Flow] = []
        self._task = asyncio.current_task()
        self.packets: list[Packets] = []
        self._carried = 0
        self._cuts = 0
        self._hard = False

    async def run(self) -> None:
        """Carry both directions until both have ended, or one breaks: then the other side hears a RST."""
        try:
            reader, writer = await self._proxy.upstream()
            self._ends.append(writer)
            self._flows = [
                self._proxy.flow(self._reader, writer, self),
                self._proxy.flow(reader, self._ends[0], self),
            ]
            async with asyncio.TaskGroup() as both:
                for flow in self._flows:
                    both.create_task(flow.run(), name="fault.flow")
        except* OSError:
            self._hard = True
        finally:
            self._close()

    def carry(self, size: int) -> None:
        """Count what has passed, and cut where it is time to."""
        self._carried += size
        faults = self._proxy.faults
        if faults.cut_after and self._carried >= faults.cut_after and not self._cuts:
            self.cut(fin=faults.fin)

    def cut(self, *, fin: bool) -> None:
        """End both sides."""
        self._cuts = 1
        self._hard = not fin
        if self._task is not None:
            self._task.cancel()

    def added_to(self, told: Tally) -> Tally:
        """Add what was done here."""
        return replace(
            told,
            connections=told.connections + 1,
            carried_bytes=told.carried_bytes + self._carried,
            cuts=told.cuts + self._cuts,
            flipped=told.flipped + sum(flow.flipped for flow in self._flows),
            duplicated=told.duplicated + sum(packets.duplicated for packets in self.packets),
            reordered=told.reordered + sum(packets.reordered for packets in self.packets),
        )

    def _close(self) -> None:
        for end in self._ends:
            if not self._hard:
                end.close()
                continue
            raw = end.get_extra_info("socket")
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            end.transport.abort()


@asynccontextmanager
async def proxy(
    host: str, port: int, *, listen: tuple[str, int] = ("127.0.0.1", 0), faults: Faults | None = None,
    mqtt: bool = False, seed: int = 0,
) -> AsyncIterator[Proxy]:  # fmt: skip
    """Carry connections while the context lasts; at its end they are cut."""
    made = Proxy(host, port, faults or Faults(), mqtt=mqtt, seed=seed)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(made.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, *listen)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
