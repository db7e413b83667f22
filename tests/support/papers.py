"""An identity for a test that is a device: enrolled as an agent is, over the real service."""

import asyncio
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

import grpc
from headwater.demo.processes import Endpoints
from headwater_agent.edges import enrolment
from headwater_agent.edges.identity import Identity, Vault, tls
from headwater_agent.edges.trust import Trust
from headwater_wire import invitation


@dataclass(frozen=True, slots=True)
class Papers:
    """A certificate, in the forms that connections want it in."""

    identity: Identity
    tls: ssl.SSLContext

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC."""
        known = self.identity
        return grpc.ssl_channel_credentials(known.control_plane.root.encode(), known.key_pem, known.chain_pem)

    @property
    def trust(self) -> Trust:
        """The keys whose orders it obeys."""
        return Trust(self.identity.keys, lambda _: None)


async def papers(endpoints: Endpoints, device: str) -> Papers:
    """Enrol a device."""
    with endpoints.client() as client:
        invited = await asyncio.to_thread(client.devices.invite, device)
    with tempfile.TemporaryDirectory() as folder:
        vault = Vault(Path(folder) / "identity")
        identity = await enrolment.enroll(invitation.decode(invited.token), device, vault.new_key())
        vault.keep(identity)
        return Papers(identity, tls(identity.control_plane.root, vault.pem))
