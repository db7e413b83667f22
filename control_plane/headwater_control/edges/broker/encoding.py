"""From packets to bytes, always in the shortest form."""

from typing import assert_never

from headwater_control.edges.broker import properties as props
from headwater_control.edges.broker.fields import binary, text, varint, word
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
)


def encode(packet: Packet) -> bytes:
    """Write one packet. Strings and binary fields have at most 65,535 bytes."""
    first, body = _encode(packet)
    return bytes((first,)) + varint(len(body)) + body


def _encode(packet: Packet) -> tuple[int, bytes]:  # noqa: C901 - one case a packet type
    match packet:
        case Publish(topic, payload, qos, packet_id, dup, retain, properties):
            number = word(packet_id) if qos else b""
            body = b"".join((text(topic), number, props.write(properties, props.PUBLISH), payload))
            return 0x30 | dup << 3 | qos << 1 | retain, body
        case Puback(packet_id, reason, properties):
            return 0x40, word(packet_id) + _ending(reason, props.write(properties, props.ACK))
        case Connect():
            return 0x10, _connect(packet)
        case Connack(reason, present, properties):
            return 0x20, bytes((present, reason)) + props.write(properties, props.CONNACK)
        case Subscribe(packet_id, subscriptions, properties):
            filters = b"".join(text(s.filter) + bytes((_options(s),)) for s in subscriptions)
            return 0x82, word(packet_id) + props.write(properties, props.SUBSCRIBE) + filters
        case Suback(packet_id, reasons, properties):
            return 0x90, word(packet_id) + props.write(properties, props.ACK) + bytes(reasons)
        case Unsubscribe(packet_id, names, properties):
            written = props.write(properties, props.UNSUBSCRIBE)
            return 0xA2, word(packet_id) + written + b"".join(map(text, names))
        case Unsuback(packet_id, reasons, properties):
            return 0xB0, word(packet_id) + props.write(properties, props.ACK) + bytes(reasons)
        case Pingreq():
            return 0xC0, b""
        case Pingresp():
            return 0xD0, b""
        case Disconnect(reason, properties):
            return 0xE0, _ending(reason, props.write(properties, props.DISCONNECT))
        case Auth(reason, properties):
            return 0xF0, _ending(reason, props.write(properties, props.AUTH))
        case _:
            assert_never(packet)


def encode_relayed(topic: bytes, payload: bytes, qos: int, packet_id: int, dup: bool, properties: bytes) -> bytes:
    """Write a PUBLISH of which topic and properties, with their lengths, are written already."""
    body = b"".join((topic, word(packet_id) if qos else b"", properties, payload))
    return bytes((0x30 | dup << 3 | qos << 1,)) + varint(len(body)) + body


def _connect(packet: Connect) -> bytes:
    flags = packet.clean_start << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    payload = text(packet.client_id)
    if (will := packet.will) is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        payload += props.write(will.properties, props.WILL) + text(will.topic) + binary(will.payload)
    if packet.username is not None:
        payload += text(packet.username)
    if packet.password is not None:
        payload += binary(packet.password)
    head = text("MQTT") + bytes((5, flags)) + word(packet.keep_alive_s)
    return head + props.write(packet.properties, props.CONNECT) + payload


def _options(subscription: Subscription) -> int:
    return (
        subscription.qos
        | subscription.no_local << 2
        | subscription.retain_as_published << 3
        | subscription.retain_handling << 4
    )


def _ending(reason: int, properties: bytes) -> bytes:
    """Leave out what the specification lets one leave out: no properties, then a reason of 0."""
    if properties != b"\0":
        return bytes((reason,)) + properties
    return bytes((reason,)) if reason else b""
