"""The properties of MQTT v5 (section 2.2.2): which packet carries which, how each is read, checked and written."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar

from headwater_control.edges.broker import fields
from headwater_control.edges.broker.fields import Reader
from headwater_control.edges.broker.filters import check_topic
from headwater_control.edges.broker.reasons import BadPacket, Reason

UserProperties = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ConnectProperties:
    """Of CONNECT."""

    session_expiry_s: int | None = None
    receive_maximum: int | None = None
    maximum_packet_bytes: int | None = None
    topic_alias_maximum: int | None = None
    request_response_information: int | None = None
    request_problem_information: int | None = None
    user_properties: UserProperties = ()
    authentication_method: str | None = None
    authentication_data: bytes | None = None


@dataclass(frozen=True, slots=True)
class ConnackProperties:
    """Of CONNACK."""

    session_expiry_s: int | None = None
    receive_maximum: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    maximum_packet_bytes: int | None = None
    assigned_client_id: str | None = None
    topic_alias_maximum: int | None = None
    reason_string: str | None = None
    user_properties: UserProperties = ()
    wildcards_available: int | None = None
    subscription_ids_available: int | None = None
    shared_available: int | None = None
    server_keep_alive_s: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None


@dataclass(frozen=True, slots=True)
class PublishProperties:
    """Of PUBLISH, and of a will (which alone has a delay, and neither alias nor subscription identifiers)."""

    payload_format: int | None = None
    message_expiry_s: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_ids: tuple[int, ...] = ()
    topic_alias: int | None = None
    user_properties: UserProperties = ()
    will_delay_s: int | None = None


@dataclass(frozen=True, slots=True)
class AckProperties:
    """Of PUBACK, SUBACK and UNSUBACK."""

    reason_string: str | None = None
    user_properties: UserProperties = ()


@dataclass(frozen=True, slots=True)
class SubscribeProperties:
    """Of SUBSCRIBE and, without the identifier, UNSUBSCRIBE."""

    subscription_id: int | None = None
    user_properties: UserProperties = ()


@dataclass(frozen=True, slots=True)
class DisconnectProperties:
    """Of DISCONNECT."""

    session_expiry_s: int | None = None
    reason_string: str | None = None
    user_properties: UserProperties = ()
    server_reference: str | None = None


@dataclass(frozen=True, slots=True)
class AuthProperties:
    """Of AUTH."""

    authentication_method: str | None = None
    authentication_data: bytes | None = None
    reason_string: str | None = None
    user_properties: UserProperties = ()


class Kind(Enum):
    """How a property's value is spelled, and what it may be."""

    FLAG = auto()
    WORD = auto()
    POSITIVE_WORD = auto()
    ALIAS = auto()
    LONG = auto()
    POSITIVE_LONG = auto()
    IDENTIFIER = auto()  # of a subscription: positive, may be repeated in a PUBLISH
    TEXT = auto()
    TOPIC = auto()
    BINARY = auto()
    PAIR = auto()  # may be repeated


# identifier: (field, kind). Both spellings of the subscription identifier share 0x0B.
_TABLE: Final = {
    0x01: ("payload_format", Kind.FLAG),
    0x02: ("message_expiry_s", Kind.LONG),
    0x03: ("content_type", Kind.TEXT),
    0x08: ("response_topic", Kind.TOPIC),
    0x09: ("correlation_data", Kind.BINARY),
    0x0B: ("subscription_id", Kind.IDENTIFIER),
    0x11: ("session_expiry_s", Kind.LONG),
    0x12: ("assigned_client_id", Kind.TEXT),
    0x13: ("server_keep_alive_s", Kind.WORD),
    0x15: ("authentication_method", Kind.TEXT),
    0x16: ("authentication_data", Kind.BINARY),
    0x17: ("request_problem_information", Kind.FLAG),
    0x18: ("will_delay_s", Kind.LONG),
    0x19: ("request_response_information", Kind.FLAG),
    0x1A: ("response_information", Kind.TEXT),
    0x1C: ("server_reference", Kind.TEXT),
    0x1F: ("reason_string", Kind.TEXT),
    0x21: ("receive_maximum", Kind.POSITIVE_WORD),
    0x22: ("topic_alias_maximum", Kind.WORD),
    0x23: ("topic_alias", Kind.ALIAS),
    0x24: ("maximum_qos", Kind.FLAG),
    0x25: ("retain_available", Kind.FLAG),
    0x26: ("user_properties", Kind.PAIR),
    0x27: ("maximum_packet_bytes", Kind.POSITIVE_LONG),
    0x28: ("wildcards_available", Kind.FLAG),
    0x29: ("subscription_ids_available", Kind.FLAG),
    0x2A: ("shared_available", Kind.FLAG),
}

P = TypeVar("P")


class Layout(Generic[P]):
    """The properties of one packet type: a record of `cls`, in which `without` names fields it doesn't have here."""

    def __init__(self, cls: type[P], *without: str) -> None:
        names = {field.name for field in dataclasses.fields(cls) if field.name not in without}  # type: ignore[arg-type]
        self.known: dict[int, tuple[str, Kind]] = {}
        for identifier, (name, kind) in _TABLE.items():
            if name in names:
                self.known[identifier] = (name, kind)
            elif name == "subscription_id" and "subscription_ids" in names:
                self.known[identifier] = ("subscription_ids", kind)
        self.empty = cls()
        self.cls = cls


CONNECT: Final = Layout(ConnectProperties)
CONNACK: Final = Layout(ConnackProperties)
PUBLISH: Final = Layout(PublishProperties, "will_delay_s")
# What is passed on as it came; the expiry interval and the identifiers are each delivery's own.
RELAYED: Final = Layout(PublishProperties, "will_delay_s", "message_expiry_s", "topic_alias", "subscription_ids")
WILL: Final = Layout(PublishProperties, "topic_alias", "subscription_ids")
ACK: Final = Layout(AckProperties)
SUBSCRIBE: Final = Layout(SubscribeProperties)
UNSUBSCRIBE: Final = Layout(SubscribeProperties, "subscription_id")
DISCONNECT: Final = Layout(DisconnectProperties)
AUTH: Final = Layout(AuthProperties)


def read(reader: Reader, layout: Layout[P]) -> P:
    """Read a packet's properties; one that is unknown here, repeated or out of its range raises `BadPacket`."""
    size = reader.varint()
    if not size:
        return layout.empty
    part = reader.part(size)
    found: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    while part:
        identifier = part.varint()
        if identifier not in layout.known:
            raise BadPacket(Reason.MALFORMED_PACKET, f"property 0x{identifier:02X} does not belong here")
        name, kind = layout.known[identifier]
        value = _READ[kind](part)
        if kind is Kind.PAIR or name == "subscription_ids":
            repeated.setdefault(name, []).append(value)
        elif name in found:
            raise BadPacket(Reason.PROTOCOL_ERROR, f"{name} is there twice")
        else:
            found[name] = value
    if "authentication_data" in found and "authentication_method" not in found:
        raise BadPacket(Reason.PROTOCOL_ERROR, "authentication data without a method")
    return layout.cls(**found, **{name: tuple(values) for name, values in repeated.items()})


def write(properties: P, layout: Layout[P]) -> bytes:
    """Write a packet's properties behind their length."""
    if properties is layout.empty:
        return b"\0"
    body = write_body(properties, layout)
    return fields.varint(len(body)) + body


def write_body(properties: P, layout: Layout[P]) -> bytes:
    """Write a packet's properties without their length."""
    out = bytearray()
    for identifier, (name, kind) in layout.known.items():
        value = getattr(properties, name)
        if value is None or value == ():
            continue
        for one in value if isinstance(value, tuple) else (value,):
            out.append(identifier)
            out += _WRITE[kind](one)
    return bytes(out)


def _flag(reader: Reader) -> int:
    value = reader.byte()
    if value > 1:
        raise BadPacket(Reason.PROTOCOL_ERROR, f"a property that is 0 or 1 has the value {value}")
    return value


def _positive(read_number: Callable[[Reader], int], reason: Reason = Reason.PROTOCOL_ERROR) -> Callable[[Reader], int]:
    def read_positive(reader: Reader) -> int:
        value = read_number(reader)
        if not value:
            raise BadPacket(reason, "a property that can't be 0 is 0")
        return value

    return read_positive


_READ: Final[dict[Kind, Callable[[Reader], Any]]] = {
    Kind.FLAG: _flag,
    Kind.WORD: Reader.word,
    Kind.POSITIVE_WORD: _positive(Reader.word),
    Kind.ALIAS: _positive(Reader.word, Reason.TOPIC_ALIAS_INVALID),
    Kind.LONG: Reader.long,
    Kind.POSITIVE_LONG: _positive(Reader.long),
    Kind.IDENTIFIER: _positive(Reader.varint),
    Kind.TEXT: Reader.text,
    Kind.TOPIC: lambda reader: check_topic(reader.text()),
    Kind.BINARY: Reader.binary,
    Kind.PAIR: lambda reader: (reader.text(), reader.text()),
}
_WRITE: Final[dict[Kind, Callable[[Any], bytes]]] = {
    Kind.FLAG: lambda value: bytes((value,)),
    Kind.WORD: fields.word,
    Kind.POSITIVE_WORD: fields.word,
    Kind.ALIAS: fields.word,
    Kind.LONG: fields.long,
    Kind.POSITIVE_LONG: fields.long,
    Kind.IDENTIFIER: fields.varint,
    Kind.TEXT: fields.text,
    Kind.TOPIC: fields.text,
    Kind.BINARY: fields.binary,
    Kind.PAIR: lambda pair: fields.text(pair[0]) + fields.text(pair[1]),
}
