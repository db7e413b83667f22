"""The certificate authority on disk: made at the first start, or brought by the operator."""

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_wire import durable

from headwater_control.edges.ca import profiles
from headwater_control.edges.ca.authority import Authority, key_pem
from headwater_control.edges.ca.signer import BadAuthority, KeySigner

_CURVES = (ec.SECP256R1, ec.SECP384R1)
_LONGEST = 2  # what servers and boxes send is their own certificate and its issuer's


def embedded(folder: Path, now: datetime) -> Authority:
    """Open the authority in a folder; make one if there is none."""
    durable.make_dirs(folder, private=True)
    root_file, root_key_file = folder / "root.pem", folder / "root.key"
    issuing = folder / "issuing.pem"  # key and certificate in one file, so that a crash leaves both or neither
    if not root_file.is_file():
        if issuing.is_file():  # no crash leaves that: a new root would lock every box out that believes the old one
            raise BadAuthority(f"{root_file} is missing, and boxes believe it: restore it from a backup")
        key = ec.generate_private_key(ec.SECP256R1())
        durable.write(root_key_file, key_pem(key), private=True)
        made = profiles.root(key, f"Headwater root {x509.random_serial_number():x}"[:32], now)
        durable.write(root_file, _pem(made))
    root = _certificates(root_file)[0]
    if not issuing.is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        made = profiles.issuer(root, _key(root_key_file), key.public_key(), now)
        durable.write(issuing, key_pem(key) + _pem(made), private=True)
    issuer = _certificates(issuing)[0]
    return Authority(root, issuer, KeySigner(issuer, _key(issuing)))


def brought(chain: Path, key: Path, now: datetime) -> Authority:
    """Open an authority of the operator's: the issuing certificate and the root above it, and its key."""
    issuer, root = brought_chain(chain, now)
    return Authority(root, issuer, KeySigner(issuer, _key(key)))


def brought_chain(chain: Path, now: datetime) -> tuple[x509.Certificate, x509.Certificate]:
    """Read an issuing certificate and the root above it, or a root that issues itself."""
    certificates = _certificates(chain)
    if len(certificates) > _LONGEST:
        raise BadAuthority(
            f"{chain} has {len(certificates)} certificates: the issuing one must be directly beneath the root, or be it"
        )
    root = certificates[-1]
    if root.issuer != root.subject:
        raise BadAuthority(f"{chain} ends without a root: append the root's certificate")
    if not all(map(_may_issue, certificates)):
        raise BadAuthority(f"{chain} holds a certificate that is no CA's: it may not issue others")
    for certificate in certificates:
        if now >= certificate.not_valid_after_utc:
            raise BadAuthority(
                f"{chain} holds a certificate that expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
            )
    return certificates[0], root


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _certificates(file: Path) -> tuple[x509.Certificate, ...]:
    try:
        found = tuple(x509.load_pem_x509_certificates(file.read_bytes()))
    except OSError as error:
        raise BadAuthority(f"can't read {file}: {error.strerror}") from error
    except ValueError as error:
        raise BadAuthority(f"{file} holds no certificates in PEM: {error}") from error
    if not found:
        raise BadAuthority(f"{file} holds no certificate in PEM")
    return found


def _key(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise BadAuthority(f"can't read {file}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadAuthority(f"{file} holds no private key in PEM without a password: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVES):
        raise BadAuthority(f"{file}: the CA's key must be an elliptic one (P-256 or P-384)")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
