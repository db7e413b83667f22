"""A published message inside the broker, and a message on its way to one session."""

from dataclasses import dataclass
from math import ceil
from sys import getsizeof
from typing import TYPE_CHECKING

from headwater_control.edges.broker import properties as props
from headwater_control.edges.broker.encoding import encode_relayed
from headwater_control.edges.broker.fields import long, text, varint
from headwater_control.edges.broker.properties import PublishProperties

if TYPE_CHECKING:
    from headwater_control.edges.broker.groups import Group

_OVERHEAD_BYTES = 400  # of the records around a message, as measured
_EXPIRY = b"\x02"
_SUBSCRIPTION_ID = b"\x0b"


@dataclass(frozen=True, slots=True)
class Message:
    """What was published, by whom, and until when it is worth delivering."""

    topic: str
    payload: bytes
    qos: int
    sender: str
    expires_at: float | None
    size_bytes: int
    written_topic: bytes  # as it goes out, once for all deliveries
    written_properties: bytes  # likewise, but for the expiry interval

    @staticmethod
    def of(
        topic: str, payload: bytes, qos: int, properties: PublishProperties, *, sender: str, now: float
    ) -> "Message":
        """Take in a message at `now`."""
        expiry_s = properties.message_expiry_s
        expires_at = None if expiry_s is None else now + expiry_s
        written_topic = text(topic)
        written = b"" if properties is props.PUBLISH.empty else props.write_body(properties, props.RELAYED)
        size = _OVERHEAD_BYTES + getsizeof(topic) + len(payload) + len(written_topic) + len(written)
        return Message(topic, payload, qos, sender, expires_at, size, written_topic, written)

    def expired(self, now: float) -> bool:
        """Say whether it is too late."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way to one session. One of a shared subscription remembers its group, for others may take it."""

    message: Message
    qos: int
    subscription_ids: tuple[int, ...] = ()
    group: "Group | None" = None

    def encode(self, packet_id: int, now: float, *, dup: bool = False) -> bytes:
        """Write the PUBLISH of it: what is left of its expiry interval is told [MQTT-3.3.2-6]."""
        message = self.message
        properties = message.written_properties
        if message.expires_at is not None:
            # To the millisecond, lest what floats add make a second of it, or more than 32 bits hold.
            left_s = max(1, ceil(round(message.expires_at - now, 3)))
            properties = _EXPIRY + long(left_s) + properties
        for number in self.subscription_ids:
            properties += _SUBSCRIPTION_ID + varint(number)
        properties = varint(len(properties)) + properties
        return encode_relayed(message.written_topic, message.payload, self.qos, packet_id, dup, properties)
