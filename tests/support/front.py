"""All servers of a control plane at once, as honest clients and attackers meet them."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from headwater_control.core.authority import Role
from headwater_control.gates.http import listen
from headwater_control.gates.http.app import create
from headwater_control.gates.http.auth import Door
from headwater_control.gates.http.enrolment import Enrolment
from headwater_control.service import tokens
from headwater_control.tls import ServerTls
from headwater_wire.ids import DeviceId
from headwater_wire.v1 import enrolment_pb2 as enrol_pb
from headwater_wire.v1 import enrolment_pb2_grpc as enrol_stubs

from tests.support.forging import Shown
from tests.support.stronghold import OK, PATIENCE_S, WELCOME, Stronghold, shown, stronghold

ME = DeviceId("box-1")
ENDS_WITHIN_S = 20.0  # each bound is ten seconds; a machine may be busy


@dataclass
class Front:
    """All four servers, one device that is in, and an admin's token."""

    held: Stronghold
    https: int
    me: Shown
    token: str

    async def serves_others(self) -> None:
        """See each server do its work for an honest client, soon."""
        async with asyncio.timeout(PATIENCE_S):
            assert await self.held.knocks(self.me, ME) == OK
            assert await self.held.connects(self.me, ME) == WELCOME
            assert (await self.enrol("Anchors", enrol_pb.AnchorsRequest()))[0] == OK
            assert (await self.get("/v1/health/live"))[0] == 204

    async def enrol(self, call: str, message: object, **options: object) -> tuple[str, object]:
        """Call the enrolment service; give the status."""
        async with grpc.aio.secure_channel(self.held.enrol, self.held.nobody.credentials) as channel:
            stub = enrol_stubs.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
            try:
                return OK, await getattr(stub, call)(message, timeout=PATIENCE_S, **options)
            except grpc.aio.AioRpcError as error:
                return error.code().name, error.details()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Read a page over HTTPS."""
        return await self.says(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())

    async def post(self, path: str, body: bytes, *headers: str) -> tuple[int, bytes]:
        """Post a body as an admin."""
        lines = [
            f"POST {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {self.token}",
            "content-type: application/json", f"content-length: {len(body)}", *headers,
        ]  # fmt: skip
        return await self.says("\r\n".join([*lines, "", ""]).encode() + body)

    async def says(self, request: bytes) -> tuple[int, bytes]:
        """Send bytes over HTTPS; give the answer's status and what follows, 0 if there is none."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.https, ssl=self.held.nobody.tls)
        try:
            async with asyncio.timeout(PATIENCE_S):
                writer.write(request)
                answer = await reader.read(65_536)
        except ConnectionError:
            answer = b""
        finally:
            writer.transport.abort()
        return (int(answer.split()[1]) if answer else 0), answer


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[Front]:
    """Serve all, with one device that is in."""
    async with AsyncExitStack() as lives:
        held = await lives.enter_async_context(stronghold(tmp_path))
        listening = lives.enter_context(listen.bound("127.0.0.1", 0))
        names = ("localhost", "127.0.0.1")
        tls = ServerTls(held.authority, list(names), held.clock).context(clients=False)
        enrolment = Enrolment(int(held.enrol.rpartition(":")[2]), names, frozenset(names))
        app = create(held.world, door=Door(), enrolment=enrolment)
        await lives.enter_async_context(listen.served(app, listening, tls))
        token = (await tokens.create(held.world, "admin", Role.ADMIN))[1]
        yield Front(held, listening.getsockname()[1], shown(await held.enrolled(ME)), token)


async def ended_after(port: int, context: ssl.SSLContext | None, said: bytes, drip: bytes = b"") -> float:
    """Connect, say something, then a byte now and then; give how long it was until the server ended it."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(said)
        async with asyncio.timeout(ENDS_WITHIN_S):
            gone = asyncio.ensure_future(_end(reader))
            for byte in drip:
                if (await asyncio.wait({gone}, timeout=0.2))[0]:
                    break
                writer.write(bytes([byte]))
            await gone
    finally:
        writer.transport.abort()
    return time.monotonic() - began


async def _end(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65_536):  # a server's own preface is no end
            pass
    except OSError:
        return
