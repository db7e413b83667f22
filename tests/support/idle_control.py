"""The control side of an idle agent: a broker, a gateway that only syncs, and byte counters before both."""

import asyncio
import json
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiomqtt
import grpc.aio
from headwater_control.edges.broker.server import serve
from headwater_wire import topics
from headwater_wire.ids import DeviceId
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1 import gateway_pb2_grpc as stubs

# struct tcp_info of linux/tcp.h: bytes_acked and bytes_received at 120, segs_out and segs_in at 136.
_TCP_INFO_BYTES = 144
_HEADERS_BYTES = 52  # IPv4 20, TCP 20, its timestamps 12


@dataclass
class Gateway(stubs.GatewayServicer):
    """Answers Sync with nothing to do."""

    heartbeat_s: int = 60
    syncs: int = 0

    async def Sync(self, request: pb.SyncRequest, context: object) -> pb.SyncResponse:  # noqa: N802
        """Answer."""
        self.syncs += 1
        return pb.SyncResponse(server_time_ms=1_000_000, epoch=request.epoch, heartbeat_s=self.heartbeat_s)


class Counter:
    """A proxy on loopback that adds up what the agent's connections carry, headers and bare acknowledgements too."""

    def __init__(self) -> None:
        self._open: set[socket.socket] = set()
        self._closed = (0, 0)

    def total(self) -> tuple[int, int]:
        """Count (bytes, segments) both ways."""
        counts = [_counts(each) for each in self._open]
        return sum(c[0] for c in counts) + self._closed[0], sum(c[1] for c in counts) + self._closed[1]

    @asynccontextmanager
    async def before(self, port: int) -> AsyncIterator[int]:
        """Listen before `port`; give the new port."""

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            except ConnectionError:
                pass
            finally:
                if writer.can_write_eof():
                    writer.write_eof()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(sock)
            back, forth = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(carry(reader, forth), carry(back, writer))
            self._open.discard(sock)
            size, segments = _counts(sock)
            self._closed = (self._closed[0] + size, self._closed[1] + segments)
            for end in (writer, forth):
                end.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]


def _counts(sock: socket.socket) -> tuple[int, int]:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    acked, received, segments_out, segments_in = struct.unpack_from("=QQII", info, 120)
    return acked + received + _HEADERS_BYTES * (segments_out + segments_in), segments_out + segments_in


async def main() -> None:
    """Serve, and answer each line on stdin with a line of JSON."""
    gateway = Gateway()
    beats = 0
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(serve("127.0.0.1", 0))
        server = grpc.aio.server()
        stubs.add_GatewayServicer_to_server(gateway, server)  # type: ignore[no-untyped-call]
        gateway_port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        counter = Counter()
        broker_port = await stack.enter_async_context(counter.before(broker.port))
        counted_port = await stack.enter_async_context(counter.before(gateway_port))
        client = await stack.enter_async_context(
            aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5)
        )
        await client.subscribe("hw/v1/d/+/up/heartbeat")

        async def listen() -> None:
            nonlocal beats
            async for _ in client.messages:
                beats += 1

        listening = asyncio.create_task(listen())

        def state() -> dict[str, object]:
            size, segments = counter.total()
            return {
                "broker": broker_port,
                "gateway": counted_port,
                "syncs": gateway.syncs,
                "beats": beats,
                "bytes": size,
                "segments": segments,
            }

        await _answer(state, gateway, client)
        listening.cancel()
        await server.stop(None)


async def _answer(state: Callable[[], dict[str, object]], gateway: Gateway, client: aiomqtt.Client) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.startswith(b"pace"):
            gateway.heartbeat_s = int(line.split()[1])
            ring = fleet.SyncRing().SerializeToString()
            await client.publish(topics.down(DeviceId("bench"), "sync"), ring, qos=1)
        print(json.dumps(state()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
