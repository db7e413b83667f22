"""The certificate authority: what it issues, what it recognises, and what is on disk."""

import os
import ssl
import stat
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from headwater_control.certificates import Bearer, from_der, from_pem
from headwater_control.edges.ca import Authority, BadAuthority, embedded
from headwater_control.edges.ca.authority import key_pem
from headwater_control.edges.ca.profiles import BACK_DATED, LEAF_LIFE
from headwater_control.ports import NotOurs
from headwater_wire import signing
from headwater_wire.errors import Malformed
from headwater_wire.names import device_uri

from tests.support.authorities import BOX, DER, GRACE, NOW, pair
from tests.support.handshakes import client, server, shake
from tests.support.requests import new_key, request


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make one."""
    return embedded(tmp_path_factory.mktemp("made") / "ca", NOW)


def leaf(pem: bytes) -> x509.Certificate:
    """Read the first certificate."""
    return x509.load_pem_x509_certificate(pem)


def test_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    """Keys are 0600 and the folder 0700, whatever the umask; the root's key is apart from what is needed daily."""
    former = os.umask(0)
    try:
        embedded(tmp_path / "ca", NOW)
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "ca").iterdir()}
    assert set(modes) == {"root.pem", "root.key", "issuing.pem"}
    assert (modes["root.key"], modes["issuing.pem"]) == (0o600, 0o600)
    (tmp_path / "ca" / "root.key").unlink()  # an operator may keep it elsewhere
    embedded(tmp_path / "ca", NOW)


def test_opened_again_it_is_the_same(tmp_path: Path) -> None:
    """Fingerprint, issuer and secrets stay; another one's differ."""
    first, second = embedded(tmp_path / "ca", NOW), embedded(tmp_path / "ca", NOW + timedelta(days=400))
    assert first.fingerprint == second.fingerprint == sha256(leaf(first.root_pem).public_bytes(DER)).digest()
    assert first.client_anchors == second.client_anchors
    assert first.secret("kick") == second.secret("kick") != first.secret("other")
    assert len(bytes.fromhex(first.secret("kick"))) == 16
    other = embedded(tmp_path / "other", NOW)
    assert other.fingerprint != first.fingerprint
    assert other.secret("kick") != first.secret("kick")


@pytest.mark.parametrize("left", [(), ("root.key",), ("root.key", "root.pem")], ids=["nothing", "key", "root"])
def test_a_crash_while_it_is_made_is_healed(tmp_path: Path, left: tuple[str, ...]) -> None:
    """After each of its writes: the next start completes what is there, and that lasts."""
    folder = tmp_path / "ca"
    made = embedded(folder, NOW)
    for file in list(folder.iterdir()):
        if file.name not in left:
            file.unlink()
    healed = embedded(folder, NOW)
    assert (healed.fingerprint == made.fingerprint) == ("root.pem" in left)
    assert embedded(folder, NOW).client_anchors == healed.client_anchors
    leaf(healed.client_anchors).verify_directly_issued_by(leaf(healed.root_pem))


def test_a_root_that_was_lost_is_named_and_not_replaced(tmp_path: Path) -> None:
    """A new one would lock every box out, so all files stay as they are."""
    folder = tmp_path / "ca"
    embedded(folder, NOW)
    (folder / "root.pem").unlink()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(BadAuthority, match=r"root\.pem is missing.*backup"):
        embedded(folder, NOW)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["root.pem", "issuing.pem"])
def test_files_that_do_not_belong_together_are_named(tmp_path: Path, name: str) -> None:
    """One of another authority, and one that is damaged."""
    for folder in ("one", "two"):
        embedded(tmp_path / folder, NOW)
    (tmp_path / "one" / name).write_bytes((tmp_path / "two" / name).read_bytes())
    with pytest.raises(BadAuthority, match="must be the root itself, or be issued by the root"):
        embedded(tmp_path / "one", NOW)
    (tmp_path / "one" / name).write_bytes(b"rust")
    with pytest.raises(BadAuthority, match=name):
        embedded(tmp_path / "one", NOW)


def test_a_root_key_that_is_needed_and_gone_is_named(tmp_path: Path) -> None:
    """Without it there is no new issuer."""
    embedded(tmp_path / "ca", NOW)
    (tmp_path / "ca" / "root.key").unlink()
    (tmp_path / "ca" / "issuing.pem").unlink()
    with pytest.raises(BadAuthority, match=r"can't read .*root\.key"):
        embedded(tmp_path / "ca", NOW)


def test_a_device_gets_a_certificate_of_the_servers_words(authority: Authority) -> None:
    """Its id as CN and URI, whatever the request says; for 90 days, back-dated by 48 hours; for clients only."""
    key = new_key()
    issued = authority.device(BOX, request(key, "root"), NOW)
    made = leaf(issued.chain)
    assert [name.value for name in made.subject] == [BOX]
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(device_uri(BOX))]
    assert made.not_valid_before_utc == NOW - BACK_DATED == NOW - timedelta(hours=48)
    assert made.not_valid_after_utc == NOW + LEAF_LIFE == NOW + timedelta(days=90)
    assert made.public_key() == key.public_key()
    basics = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basics.critical, basics.value.ca) == (True, False)
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    record = issued.record
    assert (record.device, record.issued_at, record.ends) == (BOX, NOW, made.not_valid_after_utc)
    assert int(record.serial, 16) == made.serial_number
    assert record.key == authority.key_of(request(key, "again"))
    assert from_pem(issued.chain) == from_der(made.public_bytes(DER)) == Bearer(BOX, record.serial)


def test_the_chain_holds_the_issuer_and_not_the_root(authority: Authority) -> None:
    """Each one vouches for the one before; the issuer may sign leaves only."""
    made, issuer = x509.load_pem_x509_certificates(pair(authority)[1])
    root = leaf(authority.root_pem)
    made.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    lengths = [
        one.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length for one in (issuer, root)
    ]
    assert lengths == [0, 1]
    assert issuer.not_valid_after_utc <= root.not_valid_after_utc


@pytest.mark.parametrize("days", [30, 1])
def test_no_certificate_outlives_its_issuer(authority: Authority, days: int) -> None:
    """Near the issuer's end a certificate is for what is left."""
    end = leaf(authority.client_anchors).not_valid_after_utc
    issued = authority.device(BOX, request(), end - timedelta(days=days))
    assert issued.record.ends == end
    assert authority.server(["localhost"], end - timedelta(days=days)).ends == end


def test_device_and_server_shake_hands(authority: Authority) -> None:
    """By the standard library's TLS, under each of the server's names, and under no other."""
    key, chain = pair(authority)
    made = authority.server(["control.example", "localhost", "127.0.0.1", "::1"], NOW)
    ours = client(authority.root_pem, key_pem(key) + chain)
    theirs = server(made.key + made.chain, authority.client_anchors)
    for host in ("control.example", "localhost", "127.0.0.1", "::1"):
        assert from_der(shake(ours, theirs, host)[1]).device == BOX
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(ours, theirs, "other.example")


def test_neither_side_takes_the_others_place(authority: Authority) -> None:
    """A server's certificate opens no door, and a device's serves nobody."""
    made = authority.server(["localhost"], NOW)
    key, chain = pair(authority)
    device = key_pem(key) + chain
    with pytest.raises(ssl.SSLError, match="purpose"):
        shake(
            client(authority.root_pem, made.key + made.chain), server(made.key + made.chain, authority.client_anchors)
        )
    with pytest.raises(ssl.SSLError, match="purpose"):
        shake(client(authority.root_pem), server(device))
    control = authority.control("publisher", NOW)
    assert from_pem(control.chain) == Bearer(None, f"{leaf(control.chain).serial_number:x}")
    with pytest.raises(NotOurs, match="control plane's own"):
        authority.examine(control.chain, NOW, GRACE)
    with pytest.raises(NotOurs, match="no device's"):
        authority.examine(made.chain, NOW, GRACE)


def test_a_foreign_device_gets_no_handshake(authority: Authority, tmp_path: Path) -> None:
    """Signed by another authority, or directly by a root's key where the issuer's counts."""
    key, chain = pair(embedded(tmp_path / "ca", NOW))
    made = authority.server(["localhost"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client(authority.root_pem, key_pem(key) + chain), server(made.key + made.chain, authority.client_anchors))
    with pytest.raises(NotOurs, match="enrol this box again"):
        authority.examine(chain, NOW, GRACE)


def test_a_certificate_is_examined_until_its_grace_ends(authority: Authority) -> None:
    """Of any age before; afterwards the sentence says what to do."""
    key, chain = pair(authority)
    ends = leaf(chain).not_valid_after_utc
    shown = authority.examine(chain, ends + GRACE, GRACE)
    assert (shown.device, shown.key) == (BOX, authority.key_of(request(key)))
    with pytest.raises(NotOurs, match="365 days ago: enrol this box again, with a new invitation"):
        authority.examine(chain, ends + GRACE + timedelta(seconds=1), GRACE)
    for text in (b"", b"rust", chain[:200]):
        with pytest.raises(Malformed):
            authority.examine(text, NOW, GRACE)


def test_a_renewal_is_signed_by_the_certificates_key(authority: Authority) -> None:
    """Over this nonce and this request, and by no other key."""
    key, chain = pair(authority)
    how = ec.ECDSA(hashes.SHA256())
    good = key.sign(signing.renewal(b"nonce", b"csr"), how)
    assert authority.signed_renewal(chain, b"nonce", b"csr", good)
    assert not authority.signed_renewal(chain, b"other", b"csr", good)
    assert not authority.signed_renewal(chain, b"nonce", b"csr", b"")
    assert not authority.signed_renewal(chain, b"nonce", b"csr", new_key().sign(signing.renewal(b"nonce", b"csr"), how))
    assert not authority.signed_renewal(chain, b"nonce", b"csr", key.sign(b"noncecsr", how))


def odd_request(kind: str) -> bytes:
    """Make a request that is none, or for another kind of key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box-1")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    match kind:
        case "RSA":
            return builder.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()).public_bytes(DER)
        case "P-384":
            return builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()).public_bytes(DER)
        case "flipped":
            data = bytearray(request())
            data[-1] ^= 1
            return bytes(data)
        case "cut":
            return request()[:-5]
        case "unknown key":  # X448's object identifier in place of the curve's algorithm
            return request().replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209"))
        case "unknown curve":
            return request().replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030177"))
        case "unknown hash":
            return request().replace(bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040377"))
        case _:
            return b""


@pytest.mark.parametrize(
    "kind", ["RSA", "P-384", "flipped", "cut", "unknown key", "unknown curve", "unknown hash", "empty"]
)
def test_what_is_no_request_for_a_p256_key_is_malformed(authority: Authority, kind: str) -> None:
    """A stranger's odd request is a sentence, never a failure of ours."""
    for ask in (authority.key_of, lambda csr: authority.device(BOX, csr, NOW)):
        with pytest.raises(Malformed, match=r"P-256|no certificate signing request"):
            ask(odd_request(kind))


def test_of_a_key_of_another_kind_no_signature_is_looked_at(authority: Authority) -> None:
    """It would take the longer the larger the key is: a stranger chooses that."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whoever")])
    signed = (
        x509.CertificateSigningRequestBuilder().subject_name(name).sign(dsa.generate_private_key(1024), hashes.SHA256())
    )
    forged = signed.public_bytes(DER)[:-1] + b"\0"
    with pytest.raises(Malformed, match="P-256"):
        authority.key_of(forged)


def test_the_revoked_are_listed(authority: Authority) -> None:
    """A CRL by the issuer, of exactly these serials, that has begun on any clock and does not expire before it."""
    record = authority.device(BOX, request(), NOW).record
    found = x509.load_pem_x509_crl(authority.revoked({record.serial, "1f"}, NOW))
    issuer = leaf(authority.client_anchors)
    assert found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # it is an elliptic one
    assert found.issuer == issuer.subject
    assert {f"{one.serial_number:x}" for one in found} == {record.serial, "1f"}
    assert found.last_update_utc == NOW - BACK_DATED
    assert found.next_update_utc == issuer.not_valid_after_utc
    assert len(list(x509.load_pem_x509_crl(authority.revoked((), NOW)))) == 0


# What an operator brings
