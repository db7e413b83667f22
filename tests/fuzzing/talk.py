"""What a sensible client says to a broker: few names, small numbers, so that clients meet."""

import random

from headwater_control.edges.broker import packets as p
from headwater_control.edges.broker.properties import (
    ConnectProperties,
    DisconnectProperties,
    PublishProperties,
    SubscribeProperties,
)

_TOPICS = ("a", "a/b", "a/c", "b/é", "a/b/c/d/e")
_FILTERS = ("a", "a/b", "+", "#", "a/+", "a/#", "$share/g/a", "$share/g/#", "$share/h/a/+", "a/b/c/d/e")
_SECONDS = (None, None, 0, 1, 7, 300, 2**31, 2**32 - 1)


class Talk:
    """Draws packets."""

    def __init__(self, source: random.Random) -> None:
        self._r = source

    def connect(self) -> p.Connect:
        """Introduce a client."""
        r = self._r
        will = None
        if r.random() < 0.4:
            delayed = PublishProperties(will_delay_s=r.choice(_SECONDS), message_expiry_s=r.choice(_SECONDS))
            will = p.Will(r.choice(_TOPICS), self._payload(), r.randrange(2), False, delayed)
        asked = ConnectProperties(
            session_expiry_s=r.choice(_SECONDS),
            receive_maximum=r.choice((None, None, 1, 2)),
            maximum_packet_bytes=r.choice((None, None, 20, 200)),
        )
        return p.Connect(r.choice(("a", "b", "c", "")), r.random() < 0.4, r.choice((0, 1, 20)), will, None, None, asked)

    def say(self) -> p.Packet:
        """Say anything else."""
        r = self._r
        number = r.randint(1, 6)
        draw = r.random()
        if draw < 0.45:
            qos = r.choice((0, 1, 1))
            made = PublishProperties(message_expiry_s=r.choice(_SECONDS))
            return p.Publish(r.choice(_TOPICS), self._payload(), qos, number if qos else 0, properties=made)
        if draw < 0.65:
            return p.Puback(number)
        if draw < 0.85:
            filters = r.choices(_FILTERS, k=r.randint(1, 2))
            wanted = tuple(p.Subscription(text, r.choice((0, 1, 1, 2)), self._mine(text)) for text in filters)
            return p.Subscribe(number, wanted, SubscribeProperties(r.choice((None, 1, 9))))
        if draw < 0.92:
            return p.Unsubscribe(number, tuple(r.choices(_FILTERS, k=r.randint(1, 3))))
        if draw < 0.96:
            return p.Pingreq()
        return p.Disconnect(r.choice((0, 4)), DisconnectProperties(session_expiry_s=r.choice(_SECONDS)))

    def _mine(self, text: str) -> bool:
        return not text.startswith("$share/") and self._r.random() < 0.3

    def _payload(self) -> bytes:
        return b"x" * self._r.choice((0, 3, 50, 400))
