"""Whose orders a box obeys: pinned keys, and those that they vouch for."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from headwater_agent.edges.trust import Gullible, Trust
from headwater_wire.errors import Malformed
from headwater_wire.signing import Forged, Keys, Signer
from headwater_wire.v1 import fleet_pb2 as fleet

from tests.support.signing import SIGNER, STRANGER

ORDER = fleet.Order(device="box-1")
PINNED = {SIGNER.id: SIGNER.public}


def both() -> Signer:
    """Sign as the control plane while a new key takes over."""
    private = Ed25519PrivateKey.from_private_bytes(sha256(b"the control plane").digest())
    return Signer(private, (STRANGER.public,))


def test_only_pinned_keys_are_obeyed() -> None:
    """A stranger's order is forged."""
    trust = Trust(PINNED, lambda _: None)
    assert trust.read(SIGNER.order(ORDER)) == ORDER
    with pytest.raises(Forged):
        trust.read(STRANGER.order(ORDER))


def test_a_key_that_a_pinned_one_vouches_for_is_obeyed_and_remembered() -> None:
    """Once; told the same again, nothing is written."""
    written: list[Keys] = []
    trust = Trust(PINNED, written.append)
    trust.learn(both().keys())
    trust.learn(both().keys())
    assert trust.read(STRANGER.order(ORDER)) == ORDER
    assert trust.read(SIGNER.order(ORDER)) == ORDER
    assert written == [{SIGNER.id: SIGNER.public, STRANGER.id: STRANGER.public}]


def test_a_key_that_is_no_longer_vouched_for_is_forgotten() -> None:
    """The set is what the control plane says it is."""
    trust = Trust(PINNED, lambda _: None)
    trust.learn(both().keys())
    trust.learn(STRANGER.keys())
    with pytest.raises(Forged):
        trust.read(SIGNER.order(ORDER))


def test_nobody_vouches_for_themselves() -> None:
    """A stranger's set changes nothing."""
    trust = Trust(PINNED, lambda _: pytest.fail("it was remembered"))
    with pytest.raises(Forged):
        trust.learn(STRANGER.keys())
    with pytest.raises(Forged):
        trust.read(STRANGER.order(ORDER))


def test_what_could_not_be_remembered_is_not_believed_yet() -> None:
    """A full disk: else a restart would fall back to keys that sign no more; the next time it is tried again."""

    def fail(_: Keys) -> None:
        raise OSError("the disk is full")

    trust = Trust(PINNED, fail)
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            trust.learn(both().keys())
    with pytest.raises(Forged):
        trust.read(STRANGER.order(ORDER))


def test_keys_that_come_with_a_certificate_take_the_others_place() -> None:
    """The root vouches for whoever told them: so a box that slept through two rotations comes back."""
    written: list[Keys] = []
    trust = Trust(PINNED, written.append)
    trust.replace({STRANGER.id: STRANGER.public})
    assert trust.read(STRANGER.order(ORDER)) == ORDER
    assert written == [{STRANGER.id: STRANGER.public}]
    with pytest.raises(Forged):
        trust.read(SIGNER.order(ORDER))


def test_an_agent_without_an_identity_believes_its_own_machine() -> None:
    """Whoever signed; what can't be read is refused all the same."""
    gullible = Gullible()
    assert gullible.read(STRANGER.order(ORDER)) == ORDER
    gullible.learn(STRANGER.keys())
    with pytest.raises(Malformed):
        gullible.read(fleet.SignedOrder(order=b"\xff"))
