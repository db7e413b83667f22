"""A control plane's signing key, a stranger's, and an agent's trust in the former, for tests."""

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from headwater_agent.edges.trust import Trust
from headwater_wire.signing import Signer


def signer(name: str) -> Signer:
    """Make the key that a name stands for."""
    return Signer(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


SIGNER = signer("the control plane")
STRANGER = signer("a stranger")


def trust() -> Trust:
    """Pin the key of SIGNER."""
    return Trust({SIGNER.id: SIGNER.public}, lambda _: None)
