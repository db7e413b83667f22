"""The packets of MQTT v5 that a broker without QoS 2 exchanges, as records."""

from dataclasses import dataclass

from headwater_control.edges.broker import properties as props
from headwater_control.edges.broker.properties import (
    AckProperties,
    AuthProperties,
    ConnackProperties,
    ConnectProperties,
    DisconnectProperties,
    PublishProperties,
    SubscribeProperties,
)


@dataclass(frozen=True, slots=True)
class Will:
    """What to publish for a client that is gone."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: PublishProperties = props.PUBLISH.empty


@dataclass(frozen=True, slots=True)
class Connect:
    """A client introduces itself."""

    client_id: str
    clean_start: bool = True
    keep_alive_s: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    properties: ConnectProperties = props.CONNECT.empty


@dataclass(frozen=True, slots=True)
class Connack:
    """The server's answer to CONNECT."""

    reason: int = 0
    session_present: bool = False
    properties: ConnackProperties = props.CONNACK.empty


@dataclass(frozen=True, slots=True)
class Publish:
    """A message, either way. `packet_id` is 0 with QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    dup: bool = False
    retain: bool = False
    properties: PublishProperties = props.PUBLISH.empty


@dataclass(frozen=True, slots=True)
class Puback:
    """A QoS 1 message has arrived."""

    packet_id: int
    reason: int = 0
    properties: AckProperties = props.ACK.empty


@dataclass(frozen=True, slots=True)
class Subscription:
    """One filter of a SUBSCRIBE and its options."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A client asks for messages."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: SubscribeProperties = props.SUBSCRIBE.empty


@dataclass(frozen=True, slots=True)
class Suback:
    """The answer, one reason a filter: the QoS granted, or a failure."""

    packet_id: int
    reasons: tuple[int, ...]
    properties: AckProperties = props.ACK.empty


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """A client wants no more of some filters."""

    packet_id: int
    filters: tuple[str, ...]
    properties: SubscribeProperties = props.UNSUBSCRIBE.empty


@dataclass(frozen=True, slots=True)
class Unsuback:
    """The answer, one reason a filter."""

    packet_id: int
    reasons: tuple[int, ...]
    properties: AckProperties = props.ACK.empty


@dataclass(frozen=True, slots=True)
class Pingreq:
    """A sign of life."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The answer."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The last packet of a connection, either way."""

    reason: int = 0
    properties: DisconnectProperties = props.DISCONNECT.empty


@dataclass(frozen=True, slots=True)
class Auth:
    """A step of enhanced authentication."""

    reason: int = 0
    properties: AuthProperties = props.AUTH.empty


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
