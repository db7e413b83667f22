"""What tests of certificate authorities share: a time, a box, a pair of key and certificate."""

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_control.edges.ca import Authority
from headwater_wire.ids import DeviceId

from tests.support.requests import new_key, request

NOW = datetime.now(UTC).replace(microsecond=0)  # a real handshake looks at the real clock
BOX = DeviceId("box-1")
GRACE = timedelta(days=365)
DER = serialization.Encoding.DER
PEM = serialization.Encoding.PEM


def pair(authority: Authority, device: DeviceId = BOX) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """Issue a device's certificate; give its key and chain."""
    key = new_key()
    return key, authority.device(device, request(key), NOW).chain
