"""The servers' certificate: renewed at half its life, for whoever serves already."""

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from headwater_control.edges.ca import Authority, embedded
from headwater_control.edges.ca.authority import key_pem
from headwater_control.edges.clock import SystemClock
from headwater_control.tls import ServerTls, client_context
from headwater_wire.ids import DeviceId

from tests.fakes.clock import FakeClock
from tests.support.handshakes import client, shake
from tests.support.requests import new_key, request

HALF_S = 45 * 86_400.0
HOSTS = ("localhost", "127.0.0.1")


@pytest.fixture
def clock() -> FakeClock:
    """Begin 45 days ago: handshakes look at the real clock, by which both certificates hold after those have passed."""
    return FakeClock(SystemClock().now() - timedelta(seconds=HALF_S))


@pytest.fixture
def authority(tmp_path: Path, clock: FakeClock) -> Authority:
    """Make one that began long ago."""
    return embedded(tmp_path / "ca", clock.now() - timedelta(days=400))


@pytest.fixture
async def served(authority: Authority, clock: FakeClock) -> ServerTls:
    """Make the servers' certificate, and let it come to an hour short of its half."""
    made = ServerTls(authority, HOSTS, clock)
    await clock.advance(HALF_S - 3600)
    return made


def device(authority: Authority, clock: FakeClock) -> bytes:
    """Issue a device's certificate; give key and chain."""
    key = new_key()
    return key_pem(key) + authority.device(DeviceId("box-1"), request(key), clock.now()).chain


def serial(certificate: bytes) -> int:
    """Tell which certificate that is (DER)."""
    return x509.load_der_x509_certificate(certificate).serial_number


def test_until_half_its_life_it_stays(served: ServerTls, clock: FakeClock) -> None:
    """Looked at again and again; at half life it is renewed, once."""
    assert not served.renew_if_due(clock.now())
    assert not served.renew_if_due(clock.now() + timedelta(seconds=3599))
    at = clock.now() + timedelta(seconds=3600)
    assert served.renew_if_due(at)
    assert not served.renew_if_due(at)
    assert not served.renew_if_due(at + timedelta(seconds=HALF_S - 1))


async def test_a_renewal_reaches_contexts_that_serve_already(
    served: ServerTls, authority: Authority, clock: FakeClock
) -> None:
    """With and without client certificates, by the loop that looks every hour."""
    contexts = [served.context(clients=clients) for clients in (False, True)]
    ours = client(authority.root_pem, device(authority, clock))
    before = {serial(shake(ours, context)[0]) for context in contexts}
    renewing = asyncio.create_task(served.run())
    await clock.advance(3700)
    renewing.cancel()
    after = {serial(shake(ours, context)[0]) for context in contexts}
    assert len(before) == len(after) == 1
    assert before != after


async def test_a_renewal_reaches_a_grpc_server_that_serves_already(
    served: ServerTls, authority: Authority, clock: FakeClock
) -> None:
    """The next handshake shows the new certificate; the server was not restarted."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    port = server.add_secure_port("127.0.0.1:0", served.credentials(clients=False))
    await server.start()
    try:
        seen = [await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=20)]
        assert served.renew_if_due(clock.now() + timedelta(seconds=3600))
        seen.append(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=20))
    finally:
        await server.stop(0)
    assert len({pem_serial(one) for one in seen}) == 2


def pem_serial(text: str) -> int:
    """Tell which certificate that is (PEM)."""
    return x509.load_pem_x509_certificate(text.encode()).serial_number


def test_with_clients_only_our_issuers_get_through(
    served: ServerTls, authority: Authority, clock: FakeClock, tmp_path: Path
) -> None:
    """A device and the control plane itself; nobody without a certificate or with a foreign one."""
    theirs = served.context(clients=True)
    shake(client(authority.root_pem, device(authority, clock)), theirs)
    shake(client_context(authority, "publisher", clock.now()), theirs)
    with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
        shake(client(authority.root_pem), theirs)
    foreign = embedded(tmp_path / "other", clock.now())
    with pytest.raises(ssl.SSLError, match="verify failed"):
        shake(client(authority.root_pem, device(foreign, clock)), theirs)
