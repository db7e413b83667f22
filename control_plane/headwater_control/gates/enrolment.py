"""The gRPC way in for boxes without a certificate that counts: enrolment and renewal, on a port of their own."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import grpc
from headwater_wire import signing
from headwater_wire.errors import Malformed
from headwater_wire.v1 import enrolment_pb2 as pb
from headwater_wire.v1 import enrolment_pb2_grpc as stubs

from headwater_control.core.attempts import Attempts, Pace
from headwater_control.core.audit import Caller
from headwater_control.gates.connections import Connections, parsed
from headwater_control.gates.halves import Watch
from headwater_control.gates.lifetime import Lifetime
from headwater_control.gates.status import Full, Refused, answered
from headwater_control.ports import Issued
from headwater_control.service import enrolment
from headwater_control.service.caller import calling
from headwater_control.service.errors import Forbidden
from headwater_control.service.world import World

log = logging.getLogger(__name__)

_MESSAGE_LIMIT = 64 * 1024
_PATIENCE_S = 20.0
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: what comes is as large as it says (halves.py)
    ("grpc.server_handshake_timeout_ms", 10_000),  # two minutes by default, TLS and the HTTP/2 preface together
    ("grpc.http2.max_concurrent_streams", 4),  # a box asks one thing after the other
    ("grpc.max_allowed_incoming_connections", 512),  # of strangers, who must not take all descriptors
)
LIFETIME = Lifetime(age_s=60.0, grace_s=30.0, idle_s=30.0)  # a box asks two things, and waits 20 s for each answer

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a box goes from here: host:port, or ":port" for this very host."""

    gateway: str
    broker: str


@dataclass
class EnrolmentGate(stubs.EnrolmentServicer):
    """Serves boxes that are strangers. What fails is counted against its address, lest somebody tries secrets.

    A renewal has no secret to guess: it is counted apart, or a stranger would lock out all boxes behind his address.
    `unproven` bounds what he can make us compute, at a pace that leaves others their turn: two hundred a second, of
    which each takes 0.3 ms to see through. Whoever has proven a certificate is counted by that (`renewals`), which
    nobody else can spend.
    """

    world: World
    places: Places
    attempts: Attempts = field(default_factory=lambda: Attempts(Pace(burst=20, every_s=3.0)))
    unproven: Attempts = field(default_factory=lambda: Attempts(Pace(burst=200, every_s=0.005)))
    renewals: Attempts = field(default_factory=lambda: Attempts(Pace(burst=20, every_s=3.0)))
    at_once: int = 64
    _busy: int = field(default=0, init=False)

    async def Anchors(self, request: pb.AnchorsRequest, context: Context) -> pb.AnchorsResponse:  # noqa: N802 (the contract's name)
        """Tell the root certificate: its fingerprint in an invitation makes it believed."""
        return pb.AnchorsResponse(root=self.world.issuer.root_pem)

    async def Enroll(self, request: pb.EnrollRequest, context: Context) -> pb.Identity:  # noqa: N802
        """Issue a certificate for an invitation."""
        async with answered(context, "Enroll"), asyncio.timeout(_PATIENCE_S):
            with self._admitted(context) as source, _paced(self.attempts, source):
                issued = await enrolment.enroll(
                    self.world, request.secret, request.device, request.csr, insists=request.insists
                )
                return self._identity(issued)
        raise AssertionError("answered() has aborted the call")

    async def Challenge(self, request: pb.ChallengeRequest, context: Context) -> pb.ChallengeResponse:  # noqa: N802
        """Give a nonce, and the time."""
        now = self.world.clock.now()
        return pb.ChallengeResponse(nonce=self.world.nonces.new(now), server_time_ms=int(now.timestamp() * 1000))

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.Identity:  # noqa: N802
        """Issue a new certificate for an old one."""
        asked = enrolment.Renewal(request.chain, request.csr, request.nonce, request.signature)
        async with answered(context, "Renew"), asyncio.timeout(_PATIENCE_S):
            with self._admitted(context) as source:
                with _paced(self.unproven, source):
                    proven = enrolment.prove(self.world, asked)
                with _paced(self.renewals, proven.serial):
                    return self._identity(await enrolment.renew(self.world, proven))
        raise AssertionError("answered() has aborted the call")

    @contextmanager
    def _admitted(self, context: Context) -> Iterator[str]:
        """Let so many in at once; name the caller to the audit log, and give its address."""
        if self._busy >= self.at_once:
            raise Full("enrolments")
        source = _host(context.peer())
        self._busy += 1
        try:
            with calling(Caller("a box", source, self.world.ids.new("request"))):
                yield source
        finally:
            self._busy -= 1

    def _identity(self, issued: Issued) -> pb.Identity:
        signer = self.world.keyring.signer(self.world.clock.now())
        log.info("a certificate for device %s, until %s", issued.record.device, f"{issued.record.ends:%Y-%m-%d}")
        return pb.Identity(
            device=issued.record.device,
            chain=issued.chain,
            root=self.world.issuer.root_pem,
            keys=signing.key_set(signer.accepted),
            gateway=self.places.gateway,
            broker=self.places.broker,
        )


@contextmanager
def _paced(attempts: Attempts, whose: str) -> Iterator[None]:
    """Let nobody try who failed too often; count it if this fails too."""
    if (wait_s := attempts.wait_s(whose, time.monotonic())) > 0:
        raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"too many failed attempts: try again in {ceil(wait_s)} s")
    try:
        yield
    except (Forbidden, Malformed):  # what makes no sense costs us a look too
        attempts.failed(whose, time.monotonic())
        raise


@asynccontextmanager
async def serve(
    gate: EnrolmentGate, host: str, port: int, credentials: grpc.ServerCredentials, *, lifetime: Lifetime = LIFETIME
) -> AsyncIterator[int]:
    """Serve while the context lasts; give the port. Raises `OSError` if the address can't be had."""
    server = grpc.aio.server(options=(*OPTIONS, *lifetime.options))
    stubs.add_EnrolmentServicer_to_server(gate, server)  # type: ignore[no-untyped-call]  # generated
    try:
        bound = server.add_secure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", credentials)
    except RuntimeError as error:
        raise OSError("it is in use, or no address of this machine") from error
    connections = Connections()  # of strangers all
    connections.come_to(bound, lifetime.longest_s)
    await server.start()
    watching = asyncio.create_task(Watch(connections).run(), name="enrolment.halves")
    try:
        yield bound
    finally:
        watching.cancel()
        await server.stop(0.5)


def _host(peer: str) -> str:
    """Name whom gRPC calls "ipv4:127.0.0.1:34567" by the address alone."""
    address = parsed(peer)
    return address[0] if address else peer
