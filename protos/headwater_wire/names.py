"""How a certificate says whose it is: by a URI among its alternative names (RFC 5280, 4.2.1.6)."""

from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, check_name

_DEVICE = "urn:headwater:device:"
CONTROL = "urn:headwater:control"


def device_uri(device: DeviceId) -> str:
    """Spell a device."""
    return _DEVICE + device


def device_of(uri: str) -> DeviceId:
    """Read a device; raise `Malformed` if the URI names none."""
    if not uri.startswith(_DEVICE):
        raise Malformed(f"{uri[:100]!r} names no device")
    return DeviceId(check_name(uri.removeprefix(_DEVICE), "device"))
