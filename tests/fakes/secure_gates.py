"""A control plane in this process whose gates are real, with TLS: enrolment, gateway and broker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from headwater_control.edges import broker
from headwater_control.edges.ca import Authority, embedded
from headwater_control.edges.clock import SystemClock
from headwater_control.gates import enrolment as gate
from headwater_control.gates import grpc as gateway
from headwater_control.gates.access import CertifiedAccess, is_bounded, may_use
from headwater_control.gates.enrolment import EnrolmentGate, Places
from headwater_control.gates.grpc import GrpcGate
from headwater_control.gates.peers import Peers
from headwater_control.ports import Clock
from headwater_control.service import enrolment
from headwater_control.service.world import World
from headwater_control.tls import ServerTls
from headwater_wire.invitation import Invitation, encode

from tests.fakes.world import fake_world

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Gates:
    """Where to enrol, and what is behind it."""

    world: World
    authority: Authority
    port: int  # of enrolment

    async def token(self, device: str = "", **more: Any) -> str:
        """Invite a box; give the line to paste."""
        _, secret = await enrolment.invite(self.world, device=device, ttl=timedelta(hours=1), **more)
        return encode(Invitation(f"{HOST}:{self.port}", self.authority.fingerprint, secret))


@asynccontextmanager
async def secure_gates(folder: Path, *, issuing: Clock | None = None) -> AsyncIterator[Gates]:
    """Serve while the context lasts. Certificates for boxes are dated by `issuing`, all else by the real clock."""
    clock = SystemClock()
    authority = embedded(folder / "authority", clock.now() - timedelta(days=400))
    world = replace(fake_world(folder), clock=clock, issuer=authority)
    tls = ServerTls(authority, (HOST,), clock)
    access = CertifiedAccess(world.roll)
    async with AsyncExitStack() as lives:
        peers = Peers(world.roll, certified=True)
        served = gateway.serve(GrpcGate(world, peers), HOST, 0, tls.credentials(clients=True), grace_s=0.1)
        grpc_port = await lives.enter_async_context(served)
        running = await lives.enter_async_context(
            broker.serve(
                HOST,
                0,
                authorize=may_use,
                authenticate=lambda who: access.may_connect(who.client_id, who.certificate),
                bounded=is_bounded,
                tls=tls.context(clients=True),
            )
        )
        strangers = EnrolmentGate(replace(world, clock=issuing or clock), Places(f":{grpc_port}", f":{running.port}"))
        port = await lives.enter_async_context(gate.serve(strangers, HOST, 0, tls.credentials(clients=False)))
        yield Gates(world, authority, port)
