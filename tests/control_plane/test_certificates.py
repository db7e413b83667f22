"""Whose a verified certificate is: exactly one URI says so."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from headwater_control.certificates import Bearer, from_der, from_pem
from headwater_control.edges.ca import profiles
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId
from headwater_wire.names import CONTROL, device_uri
from hypothesis import given
from hypothesis import strategies as st

from tests.support.requests import new_key

KEY = new_key()
NOW = datetime(2026, 1, 5, tzinfo=UTC)
ROOT = profiles.root(KEY, "root", NOW)
BOX = device_uri(DeviceId("box-1"))


def certificate(*uris: str) -> x509.Certificate:
    """Make one with these URIs, and a DNS name."""
    names = [x509.DNSName("box-2"), *(x509.UniformResourceIdentifier(uri) for uri in uris)]
    return profiles.leaf(ROOT, KEY, KEY.public_key(), profiles.wanted(ROOT, "box-3", names, NOW, server=False))


@pytest.mark.parametrize(("uri", "device"), [(BOX, "box-1"), (CONTROL, None)])
def test_the_one_uri_counts_and_no_other_name(uri: str, device: DeviceId | None) -> None:
    """Neither common name nor DNS name; in either encoding."""
    made = certificate(uri)
    bearer = Bearer(device, f"{made.serial_number:x}")
    assert from_der(made.public_bytes(serialization.Encoding.DER)) == bearer
    assert from_pem(made.public_bytes(serialization.Encoding.PEM)) == bearer


@pytest.mark.parametrize(
    "uris", [(), (BOX, CONTROL), (BOX, BOX), ("https://example",), ("urn:headwater:device:a/b",), (CONTROL + ":x",)]
)
def test_a_certificate_that_does_not_name_one_names_nobody(uris: tuple[str, ...]) -> None:
    """None, two, or one that is no device's."""
    with pytest.raises(Malformed):
        from_der(certificate(*uris).public_bytes(serialization.Encoding.DER))


def test_a_certificate_without_alternative_names_names_nobody() -> None:
    """A root is not somebody."""
    with pytest.raises(Malformed):
        from_der(ROOT.public_bytes(serialization.Encoding.DER))


@given(st.binary(max_size=100))
def test_what_is_no_certificate_is_malformed(data: bytes) -> None:
    """Whatever the bytes."""
    for read in (from_der, from_pem):
        with pytest.raises(Malformed, match="no certificate"):
            read(data)
