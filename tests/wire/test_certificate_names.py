"""Whose a certificate is: a URI for each device, and for nobody else."""

import pytest
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId
from headwater_wire.names import CONTROL, device_of, device_uri
from hypothesis import given
from hypothesis import strategies as st

from tests.support.wire_records import DEVICE_IDS


@given(DEVICE_IDS)
def test_a_device_comes_back(device: DeviceId) -> None:
    """By its URI."""
    assert device_of(device_uri(device)) == device


@given(st.one_of(st.text(max_size=80), st.text(max_size=80).map("urn:headwater:device:".__add__)))
def test_a_uri_names_a_device_in_one_spelling_only(uri: str) -> None:
    """Whatever is read as a device is spelled exactly so."""
    try:
        device = device_of(uri)
    except Malformed:
        return
    assert device_uri(device) == uri


@pytest.mark.parametrize(
    "uri", [CONTROL, "", "urn:headwater:device:", "URN:headwater:device:a", "urn:headwater:device:a/b"]
)
def test_the_control_plane_and_nobody_are_no_device(uri: str) -> None:
    """Nor is a name that no device could have."""
    with pytest.raises(Malformed):
        device_of(uri)
