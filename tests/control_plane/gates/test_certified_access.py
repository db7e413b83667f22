"""Who may connect to the embedded broker over TLS: whom the certificate names, under that name, while it counts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from headwater_control.core.identity import Barred
from headwater_control.edges.ca import Authority, embedded
from headwater_control.gates.access import CertifiedAccess
from headwater_control.link import CLIENT_PREFIX
from headwater_control.service.roll import Roll
from headwater_wire.ids import DeviceId
from hypothesis import given
from hypothesis import strategies as st

from tests.support.requests import request

NOW = datetime(2026, 1, 5, tzinfo=UTC)
BOX = DeviceId("box-1")
CONTROL = f"{CLIENT_PREFIX}gate-1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make one."""
    return embedded(tmp_path_factory.mktemp("made"), NOW)


def der(chain: bytes) -> bytes:
    """Give the first certificate, as a handshake does."""
    return x509.load_pem_x509_certificate(chain).public_bytes(serialization.Encoding.DER)


def test_a_device_comes_under_its_own_name_only(authority: Authority) -> None:
    """Not under another's, nor as the control plane."""
    access = CertifiedAccess(Roll())
    certificate = der(authority.device(BOX, request(), NOW).chain)
    assert access.may_connect(BOX, certificate)
    for client in ("box-2", "", "BOX-1", "box-1 ", CONTROL, f"{CLIENT_PREFIX}{BOX}"):
        assert not access.may_connect(client, certificate)


def test_the_control_plane_comes_under_its_own_names_only(authority: Authority) -> None:
    """It is no device."""
    access = CertifiedAccess(Roll())
    certificate = der(authority.control("gate-1", NOW).chain)
    assert access.may_connect(CONTROL, certificate)
    assert not access.may_connect(BOX, certificate)


def test_who_is_barred_is_refused_at_once(authority: Authority) -> None:
    """The device with all it has, or one certificate of it; others come in."""
    roll = Roll()
    access = CertifiedAccess(roll)
    old, new = (authority.device(BOX, request(), NOW) for _ in range(2))
    other = authority.device(DeviceId("box-2"), request(), NOW)
    roll.barred = Barred(serials=frozenset({old.record.serial}))
    assert not access.may_connect(BOX, der(old.chain))
    assert access.may_connect(BOX, der(new.chain))
    roll.barred = Barred(devices=frozenset({BOX}))
    assert not access.may_connect(BOX, der(new.chain))
    assert access.may_connect("box-2", der(other.chain))


def test_a_certificate_that_names_nobody_lets_nobody_in(authority: Authority, tmp_path: Path) -> None:
    """A server's, and no certificate at all."""
    access = CertifiedAccess(Roll())
    for certificate in (der(authority.server(["box-1"], NOW).chain), b""):
        assert not any(access.may_connect(client, certificate) for client in (BOX, CONTROL, ""))


@given(st.binary(max_size=80), st.sampled_from([BOX, CONTROL]))
def test_what_is_no_certificate_is_refused(data: bytes, client: str) -> None:
    """And does not disturb the broker."""
    assert not CertifiedAccess(Roll()).may_connect(client, data)
