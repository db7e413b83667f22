"""gRPC without a wire: the agent's stub on one side, the real gate on the other, each message perhaps the last."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

import grpc
from headwater_control.gates.grpc import GrpcGate
from headwater_wire.v1 import gateway_pb2 as pb

from tests.simulation.loop import Process
from tests.simulation.network import Network, Way

_EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs
_REQUESTS: dict[str, Any] = {"Sync": pb.SyncRequest, "Fetch": pb.FetchRequest, "UploadDelta": pb.UploadPart}
_RESPONSES: dict[str, Any] = {"Sync": pb.SyncResponse, "Fetch": pb.Chunk, "UploadDelta": pb.UploadReply}
_NOTICED_S = 2.0  # a broken connection, at most


class Gateways:
    """Where calls go: the gate that is listening, if one is; `answered` hears what it says, in its own step."""

    def __init__(self) -> None:
        self.gate: GrpcGate | None = None
        self.process: Process | None = None
        self.answered: Callable[[str, Any, Any], None] = lambda method, asked, said: None
        self.sends: Callable[[str, str], None] = lambda box, task: None  # bytes of a delta
        self.refused: Callable[[str, grpc.StatusCode, str], None] = lambda method, code, why: None

    def open(self, gate: GrpcGate, process: Process) -> None:
        """Listen until the process dies or closes."""
        self.gate, self.process = gate, process

    def close(self) -> None:
        """Listen no more."""
        self.gate = self.process = None


class Channel:
    """Stands in for `grpc.aio.Channel`."""

    def __init__(self, network: Network, gateways: Gateways, box: str, process: Process) -> None:
        self._make: Callable[[str], Call] = lambda method: Call(network, gateways, box, process, method)

    def unary_unary(self, path: str, **_: object) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Make the stub's method for one message each way."""

        async def ask(request: Any, timeout: float) -> Any:  # noqa: ASYNC109 (grpc's own name)
            call = self._make(path.rpartition("/")[2])
            try:
                async with asyncio.timeout(timeout):
                    await call.write(request)
                    return await call.read()
            except TimeoutError:
                raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time") from None
            finally:
                call.cancel()

        return ask

    def unary_stream(self, path: str, **_: object) -> "Callable[[Any], Call]":
        """Make the stub's method for many messages back."""

        def ask(request: Any) -> Call:
            call = self._make(path.rpartition("/")[2])
            call.send_request(request)
            return call

        return ask

    def stream_stream(self, path: str, **_: object) -> "Callable[[], Call]":
        """Make the stub's method for many messages each way."""
        return lambda: self._make(path.rpartition("/")[2])

    async def close(self, grace: float | None) -> None:
        """Nothing is held open."""


class _Pipe:
    """One direction of a call: what is sent arrives in order."""

    def __init__(self) -> None:
        self.last_s = 0.0
        self._items: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Any:
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._items.popleft()
        if item is _EOF or isinstance(item, Exception):
            self._items.appendleft(item)  # a stream that has ended stays so
        return item


class Call:
    """One call, as the client sees it; `Context` is the other side."""

    def __init__(self, network: Network, gateways: Gateways, box: str, process: Process, method: str) -> None:
        self.method = method
        self.box = box
        self.asked: Any = None  # the first message
        self.offered = ""  # the task, of an upload
        self.up, self.down = _Pipe(), _Pipe()
        self._network = network
        self._gateways = gateways
        self._client = process
        self._server: asyncio.Task[None] | None = None
        self._host: Process | None = None  # where that runs
        self._over = False
        process.died.append(self._hang_up)

    async def write(self, message: Any) -> None:
        """Send to the server."""
        if self._over:
            raise asyncio.InvalidStateError("the call is over")
        if self.method == "UploadDelta":
            self.offered = self.offered or message.offer.task
            if message.WhichOneof("part") == "chunk":
                self._gateways.sends(self.box, self.offered)
        self.send_request(message)
        await asyncio.sleep(0)

    async def read(self) -> Any:
        """Wait for the server's next message, or for the end."""
        item = await self.down.get()
        if isinstance(item, Exception):
            raise item
        return item if item is _EOF else _RESPONSES[self.method].FromString(item)

    async def done_writing(self) -> None:
        """Say that nothing more comes."""
        self._send(self.up, _EOF)

    def cancel(self) -> None:
        """End it from the client's side."""
        if self._hang_up in self._client.died:
            self._client.died.remove(self._hang_up)
        if not self._over:
            self._hang_up()

    def send_request(self, message: Any) -> None:
        """Put a message on its way."""
        self._send(self.up, message.SerializeToString())

    def reply(self, message: Any) -> None:
        """Put a message on its way back."""
        self._send(self.down, message.SerializeToString())

    def end(self, error: grpc.aio.AioRpcError | None) -> None:
        """End it from the server's side."""
        self._send(self.down, error or _EOF)

    def _send(self, pipe: _Pipe, item: Any) -> None:
        network, fate = self._network, self._network.fate
        if self._over or network.way(self.box) is Way.FROZEN:
            return
        pipe.last_s = max(pipe.last_s, network.loop.now_s + fate.delay_s())
        if network.way(self.box) is Way.CUT:
            network.loop.later(pipe.last_s - network.loop.now_s, self._break)
        elif fate.strikes(fate.weather.cut):
            network.history.note("network", f"a {self.method} of {self.box} breaks, {_direction(pipe, self)}")
            if (half := _half(self.method, item)) is not None:
                network.loop.later(pipe.last_s - network.loop.now_s, self._arrive, pipe, half)
            network.loop.later(pipe.last_s - network.loop.now_s, self._break)
        else:
            network.loop.later(pipe.last_s - network.loop.now_s, self._arrive, pipe, item)

    def _arrive(self, pipe: _Pipe, item: Any) -> None:
        if self._over:
            return
        if pipe is self.up and self._server is None and not self._accepted():
            return
        pipe.put(item)

    def _accepted(self) -> bool:
        gate, process = self._gateways.gate, self._gateways.process
        if gate is None or process is None or not process.alive:
            self._break()
            return False
        self._host = process
        self._server = process.start(self._serve(gate), f"grpc.{self.method}")
        process.died.append(self._server_died)
        return True

    async def _serve(self, gate: GrpcGate) -> None:
        context = Context(self, self._gateways)
        try:
            if self.method == "UploadDelta":
                await gate.UploadDelta(None, cast("Any", context))
            else:
                self.asked = await context.read()
                answer = await getattr(gate, self.method)(self.asked, context)
                if answer is not None:
                    await context.write(answer)
            self.end(None)
        except Aborted:
            pass

    def _server_died(self) -> None:
        self._network.loop.later(self._network.fate.chance.random() * _NOTICED_S, self._break)

    def _break(self) -> None:
        """Let both sides see that the connection is gone."""
        if not self._over:
            self.down.put(_error(grpc.StatusCode.UNAVAILABLE, "the connection broke"))
            self._hang_up()

    def _hang_up(self) -> None:
        self._over = True
        if self._server is not None:
            self._server.cancel()
            if self._host is not None and self._server_died in self._host.died:
                self._host.died.remove(self._server_died)


class Aborted(Exception):
    """Ends a servicer whose call has its status."""


class Context:
    """Stands in for `grpc.aio.ServicerContext`."""

    def __init__(self, call: Call, gateways: Gateways) -> None:
        self._call = call
        self._gateways = gateways

    async def read(self) -> Any:
        """Wait for the client's next message."""
        item = await self._call.up.get()
        if item is _EOF:
            return item
        message = _REQUESTS[self._call.method].FromString(item)
        self._call.asked = self._call.asked or message
        return message

    async def write(self, message: Any) -> None:
        """Send one back."""
        self._gateways.answered(self._call.method, self._call.asked, message)
        self._call.reply(message)
        await asyncio.sleep(0)

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[Any, ...] = ()) -> None:
        """End the call with a status."""
        self._gateways.refused(self._call.method, code, details)
        self._call.end(_error(code, details, trailing_metadata))
        raise Aborted

    def auth_context(self) -> dict[str, list[bytes]]:
        """There are no certificates."""
        return {}

    def peer(self) -> str:
        """Name the client."""
        return self._call.box


def _error(code: grpc.StatusCode, details: str, metadata: tuple[Any, ...] = ()) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details, None)


def _direction(pipe: _Pipe, call: Call) -> str:
    return "on the way up" if pipe is call.up else "on the way down"


def _half(method: str, item: Any) -> bytes | None:
    """Give what arrives of a chunk that broke in its middle; None of anything else."""
    if not isinstance(item, bytes):
        return None
    if method == "UploadDelta" and (part := pb.UploadPart.FromString(item)).WhichOneof("part") == "chunk":
        return (
            pb.UploadPart(chunk=part.chunk[: len(part.chunk) // 2]).SerializeToString() if len(part.chunk) > 1 else None
        )
    return None
