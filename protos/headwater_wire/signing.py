"""What is signed, and how: orders and key sets by the control plane (Ed25519, RFC 8032), renewals by a device (ECDSA).

Each kind of message is signed under a context of its own, so that a signature over one says nothing about another.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from headwater_wire.errors import Malformed, WireError
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as gateway

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Keys = Mapping[str, bytes]  # public keys, 32 bytes each, by their ids

_ORDER = b"headwater order v1\0"
_KEYS = b"headwater keys v1\0"
_RENEWAL = b"headwater renewal v1\0"
_KEY_BYTES = 32


class Forged(WireError):
    """A message whose signature is not one of the control plane's."""


class Signer:
    """The control plane's signing key, and the public ones that agents are to accept."""

    def __init__(self, private: "Ed25519PrivateKey", accepted: Collection[bytes] = ()) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.id = key_id(self.public)
        self.accepted = tuple(sorted({self.public, *accepted}))

    def order(self, order: fleet.Order) -> fleet.SignedOrder:
        """Sign an order."""
        data = order.SerializeToString()
        return fleet.SignedOrder(order=data, key=self.id, signature=self._private.sign(_ORDER + data))

    def keys(self) -> gateway.SignedKeys:
        """Sign the set of accepted keys."""
        data = spelled({key_id(key): key for key in self.accepted})
        return gateway.SignedKeys(keys=data, key=self.id, signature=self._private.sign(_KEYS + data))


def key_id(public: bytes) -> str:
    """Name a public key: the first half of its SHA-256, in hex."""
    return sha256(public).hexdigest()[:32]


def key_set(public: Collection[bytes]) -> gateway.KeySet:
    """Encode public keys."""
    return gateway.KeySet(keys=[gateway.SigningKey(public_key=key) for key in public])


def spelled(keys: Keys) -> bytes:
    """Spell a set of keys as it is signed: the same keys, the same bytes."""
    return key_set(sorted(keys.values())).SerializeToString(deterministic=True)


def keys_of(keys: gateway.KeySet) -> dict[str, bytes]:
    """Decode public keys, by id; raise `Malformed` if one is none, or if there is none."""
    found = {key_id(key.public_key): key.public_key for key in keys.keys}
    if not found or any(len(key) != _KEY_BYTES for key in found.values()):
        raise Malformed("a set of signing keys that holds none, or something that is no Ed25519 key")
    return found


def read_order(signed: fleet.SignedOrder, keys: Keys) -> fleet.Order:
    """Give the order that one of `keys` has signed; raise `Forged` or `Malformed`."""
    _verify(_ORDER + signed.order, signed.key, signed.signature, keys)
    return parse_order(signed)


def parse_order(signed: fleet.SignedOrder) -> fleet.Order:
    """Give the order, whoever signed it; raise `Malformed`. Only for an agent without an identity, on loopback."""
    try:
        return fleet.Order.FromString(signed.order)
    except DecodeError as error:
        raise Malformed(f"not an Order: {error}") from error


def read_keys(signed: gateway.SignedKeys, keys: Keys) -> dict[str, bytes]:
    """Give the keys that one of `keys` vouches for; raise `Forged` or `Malformed`."""
    _verify(_KEYS + signed.keys, signed.key, signed.signature, keys)
    try:
        return keys_of(gateway.KeySet.FromString(signed.keys))
    except DecodeError as error:
        raise Malformed(f"not a KeySet: {error}") from error


def renewal(nonce: bytes, csr: bytes) -> bytes:
    """Say what a device signs to renew its certificate, of any age: the server's nonce and what it asks for (DER)."""
    return _RENEWAL + sha256(nonce).digest() + sha256(csr).digest()


def _verify(message: bytes, key: str, signature: bytes, keys: Keys) -> None:
    public = keys.get(key)
    if public is None:
        raise Forged(f"it is signed with the key {key[:40]!r}, which is none of the control plane's that we know")
    # Only now: an agent that is told nothing has no use for ten megabytes.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature as error:
        raise Forged("its signature does not fit what it says") from error
