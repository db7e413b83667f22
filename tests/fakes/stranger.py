"""A box that wants in: its key, and what it asks of the use cases."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_control.ports import Issued
from headwater_control.service import enrolment
from headwater_control.service.enrolment import Renewal
from headwater_control.service.world import World
from headwater_wire import signing

from tests.support.requests import new_key, request


@dataclass
class Stranger:
    """Enrols, and renews what it has."""

    world: World
    name: str = "box-1"
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    chain: bytes = b""

    async def enroll(self, secret: bytes) -> Issued:
        """Come in by an invitation's secret."""
        issued = await enrolment.enroll(self.world, secret, self.name, request(self.key))
        self.chain = issued.chain
        return issued

    def renewal(self, nonce: bytes | None = None) -> Renewal:
        """Ask for a new certificate."""
        nonce = self.world.nonces.new(self.world.clock.now()) if nonce is None else nonce
        csr = request(self.key)
        signature = self.key.sign(signing.renewal(nonce, csr), ec.ECDSA(hashes.SHA256()))
        return Renewal(self.chain, csr, nonce, signature)

    async def renew(self) -> Issued:
        """Get a new certificate."""
        issued = await enrolment.renew(self.world, enrolment.prove(self.world, self.renewal()))
        self.chain = issued.chain
        return issued
