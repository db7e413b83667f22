"""What the control plane and the devices sign: nothing passes that was changed, cut, or signed for something else."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from headwater_wire import signing
from headwater_wire.errors import Malformed
from headwater_wire.signing import Forged, Signer
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as gateway
from hypothesis import given
from hypothesis import strategies as st

from tests.support.signing import SIGNER, STRANGER

KEYS = {SIGNER.id: SIGNER.public}
ORDERS = st.builds(
    lambda device, task, deadline: fleet.Order(device=device, assign=fleet.Task(id=task, deadline_ms=deadline)),
    st.text(max_size=20),
    st.text(max_size=20),
    st.integers(0, 2**60),
)
PLACES = st.integers(0, 10**9)


def flipped(data: bytes, place: int) -> bytes:
    """Flip one bit."""
    place %= 8 * len(data)
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@given(ORDERS)
def test_an_order_comes_back_as_it_was_signed(order: fleet.Order) -> None:
    """By whoever knows the key."""
    assert signing.read_order(SIGNER.order(order), KEYS) == order


@given(ORDERS, PLACES)
def test_an_order_with_one_bit_flipped_is_refused(order: fleet.Order, place: int) -> None:
    """Anywhere in what is signed, in the signature, or in the key's name."""
    signed = SIGNER.order(order)
    for field in ("order", "signature"):
        bent = fleet.SignedOrder(order=signed.order, key=signed.key, signature=signed.signature)
        if data := getattr(signed, field):
            setattr(bent, field, flipped(data, place))
            with pytest.raises(Forged, match="does not fit"):
                signing.read_order(bent, KEYS)
    named = flipped(signed.key.encode(), 8 * (place // 8) + place % 7).decode()  # still ASCII
    with pytest.raises(Forged, match="none of the control plane's"):
        signing.read_order(fleet.SignedOrder(order=signed.order, key=named, signature=signed.signature), KEYS)


@given(ORDERS, st.integers(0, 200))
def test_a_signed_order_that_was_cut_is_refused(order: fleet.Order, length: int) -> None:
    """Whether the order or its signature ends early."""
    signed = SIGNER.order(order)
    cuts = [
        fleet.SignedOrder(order=signed.order[:length], key=signed.key, signature=signed.signature),
        fleet.SignedOrder(order=signed.order, key=signed.key, signature=signed.signature[:length]),
    ]
    for cut in cuts:
        if cut != signed:
            with pytest.raises(Forged):
                signing.read_order(cut, KEYS)


def test_a_strangers_order_is_refused_under_either_name() -> None:
    """Under its own key's id, and under the control plane's."""
    signed = STRANGER.order(fleet.Order(device="box-1"))
    with pytest.raises(Forged, match="none of the control plane's"):
        signing.read_order(signed, KEYS)
    signed.key = SIGNER.id
    with pytest.raises(Forged, match="does not fit"):
        signing.read_order(signed, KEYS)


def test_what_is_signed_for_one_purpose_is_worth_nothing_for_another() -> None:
    """An order's signature vouches for no key set of the same bytes, nor the other way round."""
    order = SIGNER.order(fleet.Order())
    with pytest.raises(Forged):
        signing.read_keys(gateway.SignedKeys(keys=order.order, key=order.key, signature=order.signature), KEYS)
    keys = SIGNER.keys()
    with pytest.raises(Forged):
        signing.read_order(fleet.SignedOrder(order=keys.keys, key=keys.key, signature=keys.signature), KEYS)


def test_an_order_that_cannot_be_read_is_malformed_however_well_it_is_signed() -> None:
    """A signature says who spoke, not that it makes sense."""
    key = Ed25519PrivateKey.from_private_bytes(sha256(b"the control plane").digest())
    data = b"\xff\xff"
    signed = fleet.SignedOrder(order=data, key=SIGNER.id, signature=key.sign(b"headwater order v1\0" + data))
    with pytest.raises(Malformed, match="not an Order"):
        signing.read_order(signed, KEYS)
    told = gateway.SignedKeys(keys=data, key=SIGNER.id, signature=key.sign(b"headwater keys v1\0" + data))
    with pytest.raises(Malformed, match="not a KeySet"):
        signing.read_keys(told, KEYS)


@given(st.sets(st.binary(min_size=32, max_size=32), max_size=4))
def test_a_key_set_comes_back_with_the_signing_key_in_it(others: set[bytes]) -> None:
    """By id, each once."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    signer = Signer(key, others)
    found = signing.read_keys(signer.keys(), {signer.id: signer.public})
    assert found == {signing.key_id(public): public for public in {signer.public, *others}}


@given(PLACES)
def test_a_key_set_with_one_bit_flipped_is_refused(place: int) -> None:
    """Else a stranger's key would come to be believed."""
    signed = SIGNER.keys()
    bent = gateway.SignedKeys(keys=flipped(signed.keys, place), key=signed.key, signature=signed.signature)
    with pytest.raises(Forged):
        signing.read_keys(bent, KEYS)


@pytest.mark.parametrize("keys", [[], [b""], [bytes(31)], [bytes(33)], [bytes(32), b"short"]])
def test_what_is_no_set_of_keys_is_malformed(keys: list[bytes]) -> None:
    """None at all, or one that is no Ed25519 key."""
    with pytest.raises(Malformed, match="signing keys"):
        signing.keys_of(signing.key_set(keys))


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_a_renewal_is_for_one_nonce_and_one_request(nonce: bytes, csr: bytes, other: bytes, more: bytes) -> None:
    """Wherever the one ends and the other begins: different pairs are different messages, of one length."""
    one, two = signing.renewal(nonce, csr), signing.renewal(other, more)
    assert (one == two) == ((nonce, csr) == (other, more))
    assert len(one) == len(two)


def test_what_is_signed_has_the_format_that_boxes_in_the_field_know() -> None:
    """Golden bytes: a change here locks every enrolled box out."""
    signer = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    assert signer.id == sha256(signer.public).hexdigest()[:32]
    assert signer.public.hex() == GOLDEN_PUBLIC
    order = signer.order(fleet.Order(device="box-1"))
    assert (order.order.hex(), order.key, order.signature.hex()) == (GOLDEN_ORDER, signer.id, GOLDEN_ORDER_SIGNATURE)
    keys = signer.keys()
    assert (keys.keys.hex(), keys.signature.hex()) == (f"0a220a20{GOLDEN_PUBLIC}", GOLDEN_KEYS_SIGNATURE)
    hashes = sha256(b"nonce").hexdigest() + sha256(b"csr").hexdigest()
    assert signing.renewal(b"nonce", b"csr").hex() == b"headwater renewal v1\0".hex() + hashes


GOLDEN_PUBLIC = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
GOLDEN_ORDER = "0a05626f782d31"
GOLDEN_ORDER_SIGNATURE = (
    "424354ff86ef73f70256e6a1892a309eae5e9ed8c5010d266a40d1707e7569ad"
    "1f92e0de89f97d93d5659f5a53064ee20307b1f68584e76cfe4cecb4c32d0903"
)
GOLDEN_KEYS_SIGNATURE = (
    "8b2a84a0d674848b20319aa5ca84f3ac4eeae7f95a22743466d59125379cf1df"
    "bec7c4379b0ffd73c872d6acd60bd084d25cdd83ebe37a244ebd82d0a2bc9d0a"
)
