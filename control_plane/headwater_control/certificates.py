"""What a certificate says that a TLS handshake has verified: whose it is, and which one."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId
from headwater_wire.names import CONTROL, device_of

UNREADABLE = (  # what cryptography raises over a stranger's certificate or request, each somewhere else
    ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who has a certificate: a device, or (None) the control plane itself. `serial` is in hex."""

    device: DeviceId | None
    serial: str


def bearer(certificate: x509.Certificate) -> Bearer:
    """Read it; raise `Malformed` if it names neither."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, *UNREADABLE) as error:
        raise Malformed("a certificate without exactly one URI names nobody") from error
    serial = f"{certificate.serial_number:x}"
    return Bearer(None if uri == CONTROL else device_of(uri), serial)


def from_der(data: bytes) -> Bearer:
    """Read a certificate in DER; raise `Malformed`."""
    try:
        return bearer(x509.load_der_x509_certificate(data))
    except UNREADABLE as error:
        raise Malformed("that is no certificate") from error


def from_pem(data: bytes) -> Bearer:
    """Read a certificate in PEM; raise `Malformed`."""
    try:
        return bearer(x509.load_pem_x509_certificate(data))
    except UNREADABLE as error:
        raise Malformed("that is no certificate") from error
