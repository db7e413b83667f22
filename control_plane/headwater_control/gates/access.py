"""Who may connect to the embedded broker, and which topics a client may use."""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Literal

from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, check_name
from headwater_wire.topics import down_filter, parse

from headwater_control import certificates
from headwater_control.link import CLIENT_PREFIX
from headwater_control.service.roll import Roll

Action = Literal["publish", "subscribe"]


@dataclass(frozen=True, slots=True)
class OpenAccess:
    """The rules on loopback without TLS: the control plane is known by credentials drawn anew at each start."""

    username: str = "control"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def may_connect(self, client: str, username: str | None, password: bytes | None) -> bool:
        """Let devices in under their own name, and the control plane by its password."""
        if client.startswith(CLIENT_PREFIX):
            wanted = self.password.encode()
            return username == self.username and password is not None and hmac.compare_digest(password, wanted)
        return is_device(client)


@dataclass(frozen=True, slots=True)
class CertifiedAccess:
    """The rules with TLS: a client is whom its certificate names, whatever it says."""

    roll: Roll

    def may_connect(self, client: str, certificate: bytes) -> bool:
        """Let in who comes under its certificate's name (DER, verified) and is not shut out."""
        try:
            who = certificates.from_der(certificate)
        except Malformed:
            return False
        if who.device is None:
            return client.startswith(CLIENT_PREFIX)
        return client == who.device and not self.roll.barred.bars(who.device, who.serial)


def may_use(client: str, action: Action, topic: str) -> bool:
    """Tell whether `client`, once connected, may publish to a topic or subscribe to a filter."""
    return client.startswith(CLIENT_PREFIX) or allowed(client, action, topic)


def is_bounded(client: str) -> bool:
    """Tell whether `client` may have only a share of what waits for the control plane: all but that itself."""
    return not client.startswith(CLIENT_PREFIX)


def is_device(client: str) -> bool:
    """Tell whether a client id can be a device's."""
    try:
        check_name(client, "device")
    except Malformed:
        return False
    return True


def allowed(device: str, action: Action, topic: str) -> bool:
    """Tell whether a device may publish to `topic` (its own upward ones), or subscribe to it (its own downward ones).

    A filter must be the whole of its downward branch or one topic of it: a wildcard elsewhere would reach others.
    """
    try:
        if action == "subscribe" and topic == down_filter(DeviceId(check_name(device, "device"))):
            return True
        owner, way, _kind = parse(topic)
    except Malformed:
        return False
    return owner == device and way == ("up" if action == "publish" else "dn")
