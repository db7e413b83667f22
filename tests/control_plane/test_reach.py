"""Under which names the control plane is reached."""

import socket

import pytest
from headwater_control.reach import LOOPBACK, hosts, is_loopback, nearby


def test_a_certificate_holds_every_name_once() -> None:
    """Configured ones first, for the first is the common name; what is bound to everywhere is no name."""
    found = hosts(("control.example", ""), ("0.0.0.0", "::", "192.0.2.7", "control.example", "127.0.0.1"))
    assert found == ("control.example", "192.0.2.7", "127.0.0.1", socket.gethostname(), "localhost", "::1")
    assert set(LOOPBACK) < set(hosts((), ()))


@pytest.mark.parametrize(
    ("host", "own"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True)]
    + [(host, False) for host in ("", "0.0.0.0", "::", "192.0.2.7", "localhost.example", "127.0.0.1.example")],
)
def test_loopback_is_what_no_other_machine_reaches(host: str, own: bool) -> None:
    """By address, or by the one name; everything else is the open."""
    assert is_loopback(host) == own


def test_what_is_bound_everywhere_is_reached_by_loopback() -> None:
    """By the address of the same family; anything else by itself."""
    assert [nearby(host) for host in ("0.0.0.0", "::", "192.0.2.7")] == ["127.0.0.1", "::1", "192.0.2.7"]
