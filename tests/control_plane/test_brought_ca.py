"""A certificate authority that the operator brings as files: which are taken, and why others are not."""

from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448
from cryptography.x509.oid import NameOID
from headwater_control.edges.ca import BadAuthority, brought
from headwater_control.edges.ca.authority import key_pem

from tests.support.authorities import BOX, DER, GRACE, NOW, PEM, pair
from tests.support.handshakes import client, server, shake

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]


def made_by_operator(
    common: str,
    above: Pair | None = None,
    *,
    kind: str = "P-256",
    is_ca: bool = True,
    ends: datetime = NOW + timedelta(days=3650),
) -> Pair:
    """Make a certificate as a company's own CA would."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "RSA":
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "k1": ec.SECP256K1()}[kind])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(above[0].subject if above else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(NOW, ends) - timedelta(days=5))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    return builder.sign(above[1] if above else key, hashes.SHA256()), key


def written(folder: Path, chain: list[Pair], key: Pair, password: bytes | None = None) -> tuple[Path, Path]:
    """Write a chain and a key down."""
    (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(PEM) for one, _ in chain))
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    (folder / "ca.key").write_bytes(key[1].private_bytes(PEM, serialization.PrivateFormat.PKCS8, how))
    return folder / "chain.pem", folder / "ca.key"


@pytest.mark.parametrize("kind", ["P-256", "P-384"])
@pytest.mark.parametrize("intermediate", [False, True], ids=["root only", "with intermediate"])
def test_an_authority_that_was_brought_issues(tmp_path: Path, kind: str, intermediate: bool) -> None:
    """A root alone, or an intermediate beneath it: devices and servers shake hands all the same."""
    root = made_by_operator("Example root", kind=kind)
    issuer = made_by_operator("Example issuing", root, kind=kind) if intermediate else root
    authority = brought(*written(tmp_path, [issuer, root] if intermediate else [root], issuer), NOW)
    assert authority.fingerprint == sha256(root[0].public_bytes(DER)).digest()
    key, chain = pair(authority)
    assert len(x509.load_pem_x509_certificates(chain)) == (2 if intermediate else 1)
    made = authority.server(["localhost"], NOW)
    shake(client(authority.root_pem, key_pem(key) + chain), server(made.key + made.chain, authority.client_anchors))
    assert authority.examine(chain, NOW, GRACE).device == BOX


def test_a_root_of_rsa_is_fine_above_an_elliptic_issuer(tmp_path: Path) -> None:
    """Many a company's is."""
    root = made_by_operator("Example root", kind="RSA")
    issuer = made_by_operator("Example issuing", root)
    authority = brought(*written(tmp_path, [issuer, root], issuer), NOW)
    made = authority.server(["localhost"], NOW)
    shake(client(authority.root_pem), server(made.key + made.chain))


def refused(folder: Path, chain: list[Pair], key: Pair, password: bytes | None = None) -> str:
    """Say why files make no authority."""
    with pytest.raises(BadAuthority) as error:
        brought(*written(folder, chain, key, password), NOW)
    return str(error.value)


def test_what_makes_no_authority_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Order, end, key, kind, password, purpose and length of the chain are told apart."""
    root = made_by_operator("Example root")
    issuer = made_by_operator("Example issuing", root)
    assert "ends without a root" in refused(tmp_path, [root, issuer], issuer)
    assert "append the root's certificate" in refused(tmp_path, [issuer], issuer)
    assert "not the one of its certificate" in refused(tmp_path, [issuer, root], root)
    assert "without a password" in refused(tmp_path, [root], root, b"secret")
    plain = made_by_operator("Example box", root, is_ca=False)
    assert "no CA's" in refused(tmp_path, [plain, root], plain)
    deep = made_by_operator("Example deep", issuer)
    assert "directly beneath the root" in refused(tmp_path, [deep, issuer, root], deep)
    old = made_by_operator("Example root", ends=NOW)
    assert f"expired on {NOW:%Y-%m-%d}" in refused(tmp_path, [old], old)
    for kind in ("RSA", "k1"):
        odd = made_by_operator("Example root", kind=kind)
        assert "P-256 or P-384" in refused(tmp_path, [odd], odd)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A missing one, and one that holds something else."""
    root = made_by_operator("Example root")
    chain, key = written(tmp_path, [root], root)
    with pytest.raises(BadAuthority, match=r"can't read .*nowhere\.pem: No such file"):
        brought(tmp_path / "nowhere.pem", key, NOW)
    with pytest.raises(BadAuthority, match=r"can't read .*nowhere\.key"):
        brought(chain, tmp_path / "nowhere.key", NOW)
    with pytest.raises(BadAuthority, match=r"ca\.key holds no certificate"):
        brought(key, key, NOW)
    with pytest.raises(BadAuthority, match=r"chain\.pem holds no private key"):
        brought(chain, chain, NOW)


def test_a_key_of_a_kind_that_signs_no_certificate_is_refused(tmp_path: Path) -> None:
    """X448 agrees on secrets only."""
    root = made_by_operator("Example root")
    chain, key = written(tmp_path, [root], root)
    private = x448.X448PrivateKey.generate()
    key.write_bytes(private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with pytest.raises(BadAuthority, match="elliptic"):
        brought(chain, key, NOW)
