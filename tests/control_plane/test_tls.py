"""The servers' certificate: renewed at half its life, for whoever serves already."""

import asyncio
import ssl
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from headwater_control.edges.ca import Authority, Leaf, embedded
from headwater_control.edges.ca.authority import key_pem
from headwater_control.edges.clock import SystemClock
from headwater_control.ports import CantIssue
from headwater_control.tls import ClientTls, ServerTls
from headwater_wire.ids import DeviceId

from tests.fakes.clock import FakeClock
from tests.support.handshakes import client, shake
from tests.support.requests import new_key, request
from tests.support.waiting import until

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


async def test_until_half_its_life_it_stays(served: ServerTls, clock: FakeClock) -> None:
    """Looked at again and again; at half life it is renewed, once."""
    assert not await served.renew_if_due(clock.now())
    assert not await served.renew_if_due(clock.now() + timedelta(seconds=3599))
    at = clock.now() + timedelta(seconds=3600)
    assert await served.renew_if_due(at)
    assert not await served.renew_if_due(at)
    assert not await served.renew_if_due(at + timedelta(seconds=HALF_S - 1))


async def test_a_renewal_reaches_contexts_that_serve_already(
    served: ServerTls, authority: Authority, clock: FakeClock
) -> None:
    """With and without client certificates, by the loop that looks every hour."""
    contexts = [served.context(clients=clients) for clients in (False, True)]
    ours = client(authority.root_pem, device(authority, clock))
    before = {serial(shake(ours, context)[0]) for context in contexts}
    renewing = asyncio.create_task(served.run())
    await clock.advance(3700)

    def shown() -> set[int]:
        return {serial(shake(ours, context)[0]) for context in contexts}

    await until(lambda: shown().isdisjoint(before), "both show the new one")  # it is issued in a thread
    renewing.cancel()
    assert len(before) == len(shown()) == 1


async def test_a_renewal_that_finds_no_room_is_tried_again(
    served: ServerTls, authority: Authority, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context reads its certificate from a file, for which there was no place: an hour later there is."""
    context = served.context(clients=False)
    ours = client(authority.root_pem)
    before = serial(shake(ours, context)[0])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not-there"))
    renewing = asyncio.create_task(served.run())
    await clock.advance(3700)
    with pytest.raises(FileNotFoundError):
        await served.renew_if_due(clock.now())
    assert serial(shake(ours, context)[0]) == before
    monkeypatch.undo()
    await clock.advance(3700)
    await until(lambda: serial(shake(ours, context)[0]) != before, "it shows the new one")
    renewing.cancel()


async def test_a_renewal_reaches_a_grpc_server_that_serves_already(
    served: ServerTls, authority: Authority, clock: FakeClock
) -> None:
    """The next handshake shows the new certificate; the server was not restarted."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    port = server.add_secure_port("127.0.0.1:0", served.credentials(clients=False))
    await server.start()
    try:
        seen = [await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=20)]
        assert await served.renew_if_due(clock.now() + timedelta(seconds=3600))
        seen.append(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=20))
    finally:
        await server.stop(0)
    assert len({pem_serial(one) for one in seen}) == 2


def pem_serial(text: str) -> int:
    """Tell which certificate that is (PEM)."""
    return x509.load_pem_x509_certificate(text.encode()).serial_number


class Fickle:
    """An authority that can be away."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.root_pem = authority.root_pem
        self.away = False

    def control(self, name: str, now: datetime) -> Leaf:
        """Issue, or not."""
        if self.away:
            raise CantIssue("away")
        return self._authority.control(name, now)


async def test_a_connections_certificate_is_kept_until_half_its_life(authority: Authority, clock: FakeClock) -> None:
    """Each connection's own; a later one with the same name shows the same, and the next one's turn comes in time."""
    tls = ClientTls(authority, clock)
    theirs = ServerTls(authority, HOSTS, clock).context(clients=True)
    shown = [serial(shake(await tls.context(name), theirs)[1]) for name in ("gate", "gate", "publisher")]
    assert shown[0] == shown[1] != shown[2]
    await clock.advance(HALF_S + 1)
    assert serial(shake(await tls.context("gate"), theirs)[1]) != shown[0]


async def test_a_connection_does_without_an_authority_that_is_away(authority: Authority, clock: FakeClock) -> None:
    """As long as the certificate that it has is good; without one it can't begin."""
    fickle = Fickle(authority)
    tls = ClientTls(fickle, clock)  # type: ignore[arg-type]  # as much of an authority as is asked
    theirs = ServerTls(authority, HOSTS, clock).context(clients=True)
    first = serial(shake(await tls.context("gate"), theirs)[1])
    fickle.away = True
    await clock.advance(HALF_S + 1)
    assert serial(shake(await tls.context("gate"), theirs)[1]) == first
    with pytest.raises(CantIssue):
        await tls.context("publisher")
    await clock.advance(HALF_S + 1)
    with pytest.raises(CantIssue):
        await tls.context("gate")


async def test_an_issuer_that_has_ended_issues_nothing(authority: Authority, clock: FakeClock) -> None:
    """Which whoever connects takes for a passing trouble, and goes on trying: it may be replaced."""
    await clock.advance(50 * 365 * 86_400.0)
    with pytest.raises(CantIssue):
        await ClientTls(authority, clock).context("gate")


async def test_with_clients_only_our_issuers_get_through(
    served: ServerTls, authority: Authority, clock: FakeClock, tmp_path: Path
) -> None:
    """A device and the control plane itself; nobody without a certificate or with a foreign one."""
    theirs = served.context(clients=True)
    shake(client(authority.root_pem, device(authority, clock)), theirs)
    shake(await ClientTls(authority, clock).context("publisher"), theirs)
    with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
        shake(client(authority.root_pem), theirs)
    foreign = embedded(tmp_path / "other", clock.now())
    with pytest.raises(ssl.SSLError, match="verify failed"):
        shake(client(authority.root_pem, device(foreign, clock)), theirs)
