"""A published message inside the broker, and a message on its way to one session."""

from dataclasses import dataclass, replace
from math import ceil
from sys import getsizeof
from typing import TYPE_CHECKING

from headwater_control.edges.broker.packets import Publish
from headwater_control.edges.broker.properties import PublishProperties

if TYPE_CHECKING:
    from headwater_control.edges.broker.groups import Group

_OVERHEAD_BYTES = 300  # of the records around a message, as measured
_PAIR_BYTES = 64


@dataclass(frozen=True, slots=True)
class Message:
    """What was published, by whom, and until when it is worth delivering."""

    topic: str
    payload: bytes
    qos: int
    properties: PublishProperties
    sender: str
    expires_at: float | None
    size_bytes: int

    @staticmethod
    def of(
        topic: str, payload: bytes, qos: int, properties: PublishProperties, *, sender: str, now: float
    ) -> "Message":
        """Take in a message at `now`."""
        expiry_s = properties.message_expiry_s
        size = _OVERHEAD_BYTES + getsizeof(topic) + getsizeof(payload)
        for part in (properties.correlation_data, properties.content_type, properties.response_topic):
            size += 0 if part is None else getsizeof(part)
        for name, value in properties.user_properties:
            size += _PAIR_BYTES + getsizeof(name) + getsizeof(value)
        return Message(topic, payload, qos, properties, sender, None if expiry_s is None else now + expiry_s, size)

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

    def packet(self, packet_id: int, now: float, *, dup: bool = False) -> Publish:
        """Make the PUBLISH of it: what is left of its expiry interval is told [MQTT-3.3.2-6]."""
        message = self.message
        properties = message.properties
        if message.expires_at is not None:
            properties = replace(properties, message_expiry_s=ceil(message.expires_at - now))
        if self.subscription_ids:
            properties = replace(properties, subscription_ids=self.subscription_ids)
        return Publish(message.topic, message.payload, self.qos, packet_id, dup, False, properties)
