"""From bytes to packets: whatever arrives, a packet comes out or `BadPacket` is raised, and nothing else."""

from collections.abc import Callable
from typing import Final

from headwater_control.edges.broker import properties as props
from headwater_control.edges.broker import reasons
from headwater_control.edges.broker.fields import Reader
from headwater_control.edges.broker.filters import check_topic, parse_filter
from headwater_control.edges.broker.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from headwater_control.edges.broker.reasons import BadPacket, Reason


def decode(first: int, body: bytes) -> Packet:
    """Read one packet from the first byte of its header and its body."""
    check_header(first)
    reader = Reader(body)
    packet = _publish(first, reader) if first >> 4 == 3 else _DECODERS[first >> 4](reader)
    reader.finish()
    return packet


def check_header(first: int) -> None:
    """Refuse, before anything is buffered, what can't begin a packet we take."""
    kind, flags = first >> 4, first & 0x0F
    if kind == 3:
        if flags & 0x06 == 0x06:
            raise BadPacket(Reason.MALFORMED_PACKET, "PUBLISH with QoS 3")
        if flags & 0x0E == 0x08:
            raise BadPacket(Reason.MALFORMED_PACKET, "PUBLISH with DUP and QoS 0")
        return
    if kind in (5, 6, 7):
        raise BadPacket(Reason.PROTOCOL_ERROR, "a packet of the QoS 2 exchange, which is not offered")
    if kind == 0:
        raise BadPacket(Reason.MALFORMED_PACKET, "packet type 0")
    if flags != (2 if kind in (8, 10) else 0):
        raise BadPacket(Reason.MALFORMED_PACKET, f"packet type {kind} with the flags {flags:04b}")


def _publish(first: int, reader: Reader) -> Publish:
    qos = first >> 1 & 3
    topic = check_topic(reader.text())
    packet_id = reader.packet_id() if qos else 0
    properties = props.read(reader, props.PUBLISH)
    if not topic and properties.topic_alias is None:
        raise BadPacket(Reason.PROTOCOL_ERROR, "PUBLISH with neither a topic nor an alias")
    return Publish(topic, reader.rest(), qos, packet_id, bool(first & 8), bool(first & 1), properties)


def _connect(reader: Reader) -> Connect:
    name, version = reader.text(), reader.byte()
    if name != "MQTT" or version != 5:
        raise BadPacket(
            Reason.UNSUPPORTED_VERSION, f"{name[:20]!r} version {version}: only MQTT version 5 is spoken here"
        )
    flags = reader.byte()
    if flags & 0x01:
        raise BadPacket(Reason.MALFORMED_PACKET, "CONNECT with its reserved flag set")
    with_will, will_qos, will_retain = bool(flags & 0x04), flags >> 3 & 3, bool(flags & 0x20)
    if will_qos == 3 or (not with_will and (will_qos or will_retain)):
        raise BadPacket(Reason.MALFORMED_PACKET, "CONNECT with will flags that don't fit together")
    keep_alive_s = reader.word()
    properties = props.read(reader, props.CONNECT)
    client_id = reader.text()
    will = None
    if with_will:
        will_properties = props.read(reader, props.WILL)
        topic = check_topic(reader.text())
        if not topic:
            raise BadPacket(Reason.TOPIC_NAME_INVALID, "a will without a topic")
        will = Will(topic, reader.binary(), will_qos, will_retain, will_properties)
    return Connect(
        client_id,
        clean_start=bool(flags & 0x02),
        keep_alive_s=keep_alive_s,
        will=will,
        username=reader.text() if flags & 0x80 else None,
        password=reader.binary() if flags & 0x40 else None,
        properties=properties,
    )


def _connack(reader: Reader) -> Connack:
    flags = reader.byte()
    if flags > 1:
        raise BadPacket(Reason.MALFORMED_PACKET, "CONNACK with reserved flags")
    reason = _reason(reader, reasons.CONNACK_REASONS)
    if flags and reason:
        raise BadPacket(Reason.PROTOCOL_ERROR, "a refusing CONNACK speaks of a session")
    return Connack(reason, bool(flags), props.read(reader, props.CONNACK))


def _puback(reader: Reader) -> Puback:
    packet_id = reader.packet_id()
    if not reader:
        return Puback(packet_id)
    reason = _reason(reader, reasons.PUBACK_REASONS)
    return Puback(packet_id, reason, props.read(reader, props.ACK)) if reader else Puback(packet_id, reason)


def _subscribe(reader: Reader) -> Subscribe:
    packet_id = reader.packet_id()
    properties = props.read(reader, props.SUBSCRIBE)
    subscriptions = []
    while reader:
        topic_filter = parse_filter(reader.text())
        options = reader.byte()
        qos, retain_handling = options & 3, options >> 4 & 3
        if options & 0xC0 or qos == 3 or retain_handling == 3:
            raise BadPacket(Reason.MALFORMED_PACKET, f"SUBSCRIBE with the options {options:08b}")
        if topic_filter.group and options & 4:
            raise BadPacket(Reason.PROTOCOL_ERROR, "a shared subscription can't be no-local")
        subscriptions.append(
            Subscription(topic_filter.text, qos, bool(options & 4), bool(options & 8), retain_handling)
        )
    if not subscriptions:
        raise BadPacket(Reason.PROTOCOL_ERROR, "SUBSCRIBE without a filter")
    return Subscribe(packet_id, tuple(subscriptions), properties)


def _suback(reader: Reader) -> Suback:
    packet_id, properties = reader.packet_id(), props.read(reader, props.ACK)
    return Suback(packet_id, _reasons(reader, reasons.SUBACK_REASONS), properties)


def _unsubscribe(reader: Reader) -> Unsubscribe:
    packet_id = reader.packet_id()
    properties = props.read(reader, props.UNSUBSCRIBE)
    filters = []
    while reader:
        filters.append(parse_filter(reader.text()).text)
    if not filters:
        raise BadPacket(Reason.PROTOCOL_ERROR, "UNSUBSCRIBE without a filter")
    return Unsubscribe(packet_id, tuple(filters), properties)


def _unsuback(reader: Reader) -> Unsuback:
    packet_id, properties = reader.packet_id(), props.read(reader, props.ACK)
    return Unsuback(packet_id, _reasons(reader, reasons.UNSUBACK_REASONS), properties)


def _disconnect(reader: Reader) -> Disconnect:
    if not reader:
        return Disconnect()
    reason = _reason(reader, reasons.DISCONNECT_REASONS)
    return Disconnect(reason, props.read(reader, props.DISCONNECT)) if reader else Disconnect(reason)


def _auth(reader: Reader) -> Auth:
    if not reader:
        return Auth()
    reason = _reason(reader, reasons.AUTH_REASONS)
    return Auth(reason, props.read(reader, props.AUTH)) if reader else Auth(reason)


def _reason(reader: Reader, known: frozenset[int]) -> int:
    reason = reader.byte()
    if reason not in known:
        raise BadPacket(Reason.MALFORMED_PACKET, f"the reason code 0x{reason:02X} does not belong here")
    return reason


def _reasons(reader: Reader, known: frozenset[int]) -> tuple[int, ...]:
    found = []
    while reader:
        found.append(_reason(reader, known))
    if not found:
        raise BadPacket(Reason.PROTOCOL_ERROR, "an acknowledgement without a reason code")
    return tuple(found)


_DECODERS: Final[dict[int, Callable[[Reader], Packet]]] = {
    1: _connect,
    2: _connack,
    4: _puback,
    8: _subscribe,
    9: _suback,
    10: _unsubscribe,
    11: _unsuback,
    12: lambda reader: Pingreq(),
    13: lambda reader: Pingresp(),
    14: _disconnect,
    15: _auth,
}
