"""A certificate authority that is a step-ca's: what it issues for us, and what is said when it doesn't."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from headwater.errors import HeadwaterError
from headwater_agent.edges.certificates import request
from headwater_agent.edges.enrolment import NoCertificate
from headwater_control.edges.ca import Authority, BadAuthority
from headwater_control.edges.ca.authority import key_pem
from headwater_control.ports import CantIssue
from headwater_wire.messages import Column, DatasetCard
from joserfc.jwk import ECKey, RSAKey

from tests.step_ca.company import DEFAULT, ISSUING, RENAMING, Company, Rules, names_of
from tests.step_ca.fake import fake_step_ca
from tests.step_ca.real import BINARY, real_step_ca
from tests.support.authorities import BOX, GRACE, PEM
from tests.support.fleet import fleet
from tests.support.handshakes import client, server, shake
from tests.support.papers import papers
from tests.support.requests import new_key
from tests.support.requests import request as odd
from tests.support.standin import Standin
from tests.support.waiting import until

Served = Callable[[Company], AbstractContextManager[str]]
KINDS: dict[str, Served] = {"fake": fake_step_ca}
if BINARY in os.environ:  # `make step-ca`
    KINDS["step-ca"] = real_step_ca
CARD = DatasetCard("digits", 100, (Column("x", "float32", (4,)),))


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS), scope="module")
def served(request: pytest.FixtureRequest) -> Served:
    """Serve as the real one, or as the fake."""
    kind: Served = request.param
    return kind


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """One that allows what we need."""
    return Company(tmp_path_factory.mktemp("company"), Rules())


@pytest.fixture(scope="module")
def url(company: Company, served: Served) -> Iterator[str]:
    """Its step-ca."""
    with served(company) as address:
        yield address


@pytest.fixture
def authority(company: Company, url: str) -> Authority:
    """Ours, that asks it."""
    return company.authority(url)


def test_a_device_gets_a_certificate_that_names_it(authority: Authority) -> None:
    """By CN and URI, for its own key, for 90 days, from two days ago on; and it is judged like any other of ours."""
    key, now = new_key(), datetime.now(UTC)
    issued = authority.device(BOX, request(key), now)
    leaf, issuer = x509.load_pem_x509_certificates(issued.chain)
    assert leaf.public_key() == key.public_key()
    assert names_of(leaf) == ["urn:headwater:device:box-1"]
    assert abs(leaf.not_valid_before_utc - (now - timedelta(hours=48))) < timedelta(seconds=2)
    assert abs(issued.record.ends - (now + timedelta(days=90))) < timedelta(seconds=2)
    assert issuer.public_bytes(PEM) == authority.client_anchors
    shown = authority.examine(issued.chain, now, GRACE)
    assert (shown.device, shown.serial, shown.key) == (BOX, issued.record.serial, issued.record.key)


def test_servers_and_devices_shake_hands(authority: Authority) -> None:
    """The control plane's own certificates are from there too, for addresses and for names."""
    now, key = datetime.now(UTC), new_key()
    own, control = authority.server(["control.example", "127.0.0.1", "::1"], now), authority.control("control:a", now)
    assert names_of(x509.load_pem_x509_certificate(own.chain)) == ["127.0.0.1", "::1", "control.example"]
    theirs = server(own.key + own.chain, authority.client_anchors)
    device = key_pem(key) + authority.device(BOX, request(key), now).chain
    for mine in (device, control.key + control.chain):
        shake(client(authority.root_pem, mine), theirs, "control.example")


def test_a_request_that_names_another_gets_nothing(authority: Authority) -> None:
    """Our own authority ignores what a request says of its subject; step-ca refuses it. No agent's says anything."""
    with pytest.raises(CantIssue, match="step-ca refuses a certificate for box-1"):
        authority.device(BOX, odd(common="box-2"), datetime.now(UTC))


async def test_a_control_plane_enrols_and_serves_with_it(company: Company, url: str, tmp_path: Path) -> None:
    """A box enrols, connects to broker and gateway, and an operator sees it."""
    with fleet(tmp_path, env=company.settings(url)) as made:
        box = Standin("box-1", CARD, made.endpoints)
        await box.register()
        await until(lambda: "box-1" in made.registered(), "it is registered")
        assert box.papers.identity.chain_pem.count(b"BEGIN CERTIFICATE") == 2


async def test_one_that_goes_away_stops_enrolment_and_nothing_else(served: Served, tmp_path: Path) -> None:
    """A new box is told to come again; who is in stays in."""
    theirs = Company(tmp_path / "company", Rules())
    with ExitStack() as running:
        with served(theirs) as address:
            made = running.enter_context(fleet(tmp_path, env=theirs.settings(address)))
            box = Standin("box-1", CARD, made.endpoints)
            await box.register()
        with pytest.raises(NoCertificate, match="can't issue certificates at the moment"):
            await papers(made.endpoints, "box-2")
        await box.register()
        assert (await box.sync()).revision >= 0


def test_without_it_a_control_plane_says_why_it_does_not_start(company: Company, tmp_path: Path) -> None:
    """And is started again by systemd, until it is there."""
    started = fleet(tmp_path, env=company.settings("https://127.0.0.1:1"))
    with pytest.raises(HeadwaterError, match="authority issues nothing: step-ca can't be reached"), started:
        pytest.fail("it started")


def test_too_short_a_limit_is_named(served: Served, tmp_path: Path) -> None:
    """Provisioners allow a day unless told otherwise."""
    theirs = Company(tmp_path, Rules(most_hours=24))
    with served(theirs) as address, pytest.raises(CantIssue, match=r"of 2208 hours \(maxTLSCertDuration\)"):
        theirs.authority(address).device(BOX, request(new_key()), datetime.now(UTC))


def test_another_key_than_the_provisioners_gets_nothing(served: Served, tmp_path: Path) -> None:
    """Step-ca says no more than that to a stranger."""
    theirs = Company(tmp_path, Rules())
    theirs.tell(ECKey.generate_key("P-256", private=True, auto_kid=True).as_dict(private=True))
    with served(theirs) as address, pytest.raises(CantIssue, match="necessary authorization"):
        theirs.authority(address).device(BOX, request(new_key()), datetime.now(UTC))


@pytest.mark.parametrize("template", [RENAMING, DEFAULT, ISSUING], ids=["renaming", "for servers too", "issuing"])
def test_a_certificate_that_says_something_else_is_not_believed(served: Served, tmp_path: Path, template: str) -> None:
    """It would let somebody else in, or a box whose id is our host's name pass for us, or it could make others."""
    theirs = Company(tmp_path, Rules(template=template))
    with served(theirs) as address, pytest.raises(CantIssue, match="something else than was asked for"):
        theirs.authority(address)


def test_one_that_renews_past_us_is_refused(served: Served, tmp_path: Path) -> None:
    """A box that is shut out by its certificate's serial would come back with another."""
    theirs = Company(tmp_path, Rules(renewal=True))
    with served(theirs) as address, pytest.raises(BadAuthority, match="set disableRenewal"):
        theirs.authority(address)


def test_another_companys_is_not_believed(url: str, tmp_path: Path) -> None:
    """Its server's certificate is not by the root in ca_chain, so it learns no token."""
    with pytest.raises(CantIssue, match="certificate verify failed"):
        Company(tmp_path, Rules()).authority(url).device(BOX, request(new_key()), datetime.now(UTC))


def test_one_that_is_away_is_named(company: Company) -> None:
    """With its address."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(CantIssue, match=f"step-ca can't be reached at {address}: "):
            company.authority(address).server(["localhost"], datetime.now(UTC))


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ({"kty": "EC"}, "holds no private key of a provisioner"),
        ("text", "holds no private key of a provisioner"),
        (RSAKey.generate_key(2048).as_dict(), "holds no private key of a provisioner"),
        (ECKey.generate_key("secp256k1").as_dict(), "P-256 or P-384"),
        (ECKey.generate_key("P-256").as_dict(private=False), "a public key: the private one is needed"),
    ],
)
def test_what_is_no_provisioners_key_is_named(tmp_path: Path, key: object, complaint: str) -> None:
    """At the start, before anything is asked."""
    theirs = Company(tmp_path, Rules())
    theirs.tell(key)
    with pytest.raises(BadAuthority, match=complaint):
        theirs.authority("https://127.0.0.1:1")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1", "127.0.0.1:1", "https://", "https://host:abc", "https://[::1"]
)
def test_an_address_without_tls_is_refused(company: Company, address: str) -> None:
    """A token over plain HTTP would be everybody's."""
    with pytest.raises(BadAuthority, match="write https://host:port"):
        company.authority(address)
