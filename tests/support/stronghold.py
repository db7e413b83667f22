"""All that a control plane serves to boxes, by TLS on loopback, in the test's process: enrolment, gateway, broker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_agent.edges import enrolment as agent
from headwater_agent.edges.identity import Identity
from headwater_control.edges import broker
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.edges.broker.server import Broker
from headwater_control.edges.ca import Authority
from headwater_control.edges.clock import SystemIds
from headwater_control.gates import enrolment
from headwater_control.gates import grpc as gateway
from headwater_control.gates.access import CertifiedAccess, is_bounded, may_use
from headwater_control.gates.enrolment import EnrolmentGate, Places
from headwater_control.gates.grpc import GrpcGate
from headwater_control.gates.lifetime import Lifetime
from headwater_control.gates.peers import Peers
from headwater_control.service import enrolment as service
from headwater_control.service.world import World
from headwater_control.tls import ServerTls
from headwater_wire.invitation import Invitation
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub

from tests.control_plane.broker.raw_client import Closed, connected
from tests.fakes.clock import FakeClock
from tests.fakes.world import fake_world
from tests.support.forging import Forger, Shown

HOUR = timedelta(hours=1)
PATIENCE_S = 10.0
OK = "OK"
WELCOME = 0  # MQTT 5.0, 3.2.2.2
BY_TLS = None  # refused by the handshake, before any word of ours


@dataclass
class Stronghold:
    """The servers. `clock` is the services' own, which a test moves; TLS goes by the machine's."""

    world: World
    clock: FakeClock
    authority: Authority
    forger: Forger
    broker: Broker
    enrol: str
    gateway: str
    tls: ServerTls

    @property
    def nobody(self) -> Shown:
        """Prove nothing, and believe our root."""
        return Shown(self.authority.root_pem)

    async def invite(self, device: str = "", *, uses: int = 1, ttl: timedelta = HOUR) -> Invitation:
        """Invite a box."""
        _, secret = await service.invite(self.world, device=device, uses=uses, ttl=ttl)
        return Invitation(self.enrol, self.authority.fingerprint, secret)

    async def enrolled(self, device: str) -> Identity:
        """Enrol a box as an agent does, over the real service."""
        return await agent.enroll(await self.invite(), device, ec.generate_private_key(ec.SECP256R1()))

    async def audited(self, action: str) -> list[str]:
        """Give what the audit log tells of an action, oldest first."""
        async with self.world.store.read() as tx:
            entries = await tx.audit.entries(0, 1000)
        return [entry.after for entry in entries if entry.action == action]

    @asynccontextmanager
    async def calling(self, by: Shown) -> AsyncIterator[Any]:
        """Open a channel to the gateway."""
        async with grpc.aio.secure_channel(self.gateway, by.credentials) as channel:
            yield GatewayStub(channel)  # type: ignore[no-untyped-call]

    async def knocks(self, by: Shown, device: str) -> str:
        """Sync as a device; give the status."""
        async with self.calling(by) as stub:
            try:
                await stub.Sync(pb.SyncRequest(device=device), timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                return error.code().name
        return OK

    async def connects(self, by: Shown, client: str) -> int | None:
        """Connect to the broker as a client; give the reason that CONNACK tells."""
        try:
            async with connected(self.broker.port, client, tls=by.tls) as (_, answer):
                return answer.reason
        except (OSError, Closed):
            return BY_TLS


@asynccontextmanager
async def stronghold(
    folder: Path, *, lifetimes: tuple[Lifetime, Lifetime] = (gateway.LIFETIME, enrolment.LIFETIME)
) -> AsyncIterator[Stronghold]:
    """Serve while the context lasts; `lifetimes` are those of connections to the gateway and to enrolment."""
    clock = FakeClock(datetime.now(UTC))
    world = replace(fake_world(folder, clock=clock, blobs=FolderBlobs(folder / "blobs")), ids=SystemIds())
    authority = world.issuer
    assert isinstance(authority, Authority)
    tls = ServerTls(authority, ["127.0.0.1", "localhost"], clock)
    access = CertifiedAccess(world.roll)
    gate = GrpcGate(world, Peers(world.roll, certified=True))
    async with AsyncExitStack() as lives:
        running = await lives.enter_async_context(
            broker.serve(
                "127.0.0.1",
                0,
                authorize=may_use,
                authenticate=lambda who: access.may_connect(who.client_id, who.certificate),
                bounded=is_bounded,
                tls=tls.context(clients=True),
            )
        )
        world.roll.on_bar(running.expel)
        port = await lives.enter_async_context(
            gateway.serve(gate, "127.0.0.1", 0, tls.credentials(clients=True), grace_s=0.1, lifetime=lifetimes[0])
        )
        strangers = EnrolmentGate(world, Places(f":{port}", f":{running.port}"))
        enrol = await lives.enter_async_context(
            enrolment.serve(strangers, "127.0.0.1", 0, tls.credentials(clients=False), lifetime=lifetimes[1])
        )
        places = f"127.0.0.1:{enrol}", f"127.0.0.1:{port}"
        yield Stronghold(world, clock, authority, Forger(folder / "ca"), running, *places, tls)


def shown(identity: Identity) -> Shown:
    """Show an identity."""
    return Shown(identity.control_plane.root.encode(), identity.key_pem, identity.chain_pem)
