"""Valid MQTT v5 packets of every type, in all their variety, and what damage does to them."""

import random

from headwater_control.edges.broker import packets as p
from headwater_control.edges.broker import reasons
from headwater_control.edges.broker.fields import varint
from headwater_control.edges.broker.properties import (
    AckProperties,
    AuthProperties,
    ConnackProperties,
    ConnectProperties,
    DisconnectProperties,
    PublishProperties,
    SubscribeProperties,
)

from tests.fuzzing.damage import damaged

_PROPERTY_IDS = bytes((1, 2, 3, 8, 9, 11, 17, 18, 19, 21, 22, 23, 24, 25, 26, 28, 31, 33, 34, 35, 36, 37, 38, 39, 40))
_FILTERS = ("a", "a/b", "+", "#", "a/+/b", "a/#", "$share/g/a", "$SYS/#", "é/𝄞")
_SPLICES = (
    b"\0", b"\xff", b"\0\0", b"\0\1", b"\xff\xff", b"\xc0\x80", b"\xed\xa0\x80", b"+", b"#", b"$share/", b"\x80\0",
    *(bytes((number, 1)) for number in _PROPERTY_IDS),
)  # fmt: skip


class Packets:
    """Makes valid packets of every type, in all their variety."""

    def __init__(self, source: random.Random) -> None:
        self._r = source

    def make(self) -> p.Packet:
        """Make one."""
        r = self._r
        number = r.randint(1, 65_535)
        acknowledging = AckProperties(self._text(), self._pairs())
        match r.randrange(12):
            case 0:
                return self._connect()
            case 1:
                reason = self._one_of(reasons.CONNACK_REASONS)
                return p.Connack(reason, not reason and self._coin(), self._connack())
            case 2 | 3:
                qos = r.randrange(3)
                dup = bool(qos) and self._coin()
                return p.Publish(
                    self._topic(),
                    r.randbytes(r.randrange(40)),
                    qos,
                    number if qos else 0,
                    dup,
                    self._coin(),
                    self._of(),
                )
            case 4:
                return p.Puback(number, self._one_of(reasons.PUBACK_REASONS), acknowledging)
            case 5 | 6:
                wanted = tuple(self._subscription() for _ in range(r.randint(1, 4)))
                return p.Subscribe(number, wanted, SubscribeProperties(self._number(1, 268_435_455), self._pairs()))
            case 7:
                return p.Suback(number, self._some(reasons.SUBACK_REASONS), acknowledging)
            case 8:
                filters = tuple(r.choices(_FILTERS, k=r.randint(1, 4)))
                return p.Unsubscribe(number, filters, SubscribeProperties(None, self._pairs()))
            case 9:
                return p.Unsuback(number, self._some(reasons.UNSUBACK_REASONS), acknowledging)
            case 10:
                return p.Disconnect(
                    self._one_of(reasons.DISCONNECT_REASONS),
                    DisconnectProperties(self._number(0, 2**32 - 1), self._text(), self._pairs(), self._text()),
                )
            case _:
                method = AuthProperties("m", self._blob(), self._text(), self._pairs())
                return r.choice((p.Pingreq(), p.Pingresp(), p.Auth(self._one_of(reasons.AUTH_REASONS), method)))

    def _connect(self) -> p.Connect:
        will = None
        if self._coin():
            delayed = self._of(will=True)
            will = p.Will(self._topic(), self._blob() or b"", self._r.randrange(3), self._coin(), delayed)
        asked = ConnectProperties(
            session_expiry_s=self._number(0, 2**32 - 1),
            receive_maximum=self._number(1, 65_535),
            maximum_packet_bytes=self._number(1, 2**32 - 1),
            topic_alias_maximum=self._number(0, 65_535),
            request_problem_information=self._number(0, 1),
            user_properties=self._pairs(),
        )
        return p.Connect(
            self._text() or "", self._coin(), self._r.randrange(65_536), will, self._text(), self._blob(), asked
        )

    def _connack(self) -> ConnackProperties:
        return ConnackProperties(
            session_expiry_s=self._number(0, 2**32 - 1),
            receive_maximum=self._number(1, 65_535),
            maximum_qos=self._number(0, 1),
            retain_available=self._number(0, 1),
            assigned_client_id=self._text(),
            reason_string=self._text(),
            user_properties=self._pairs(),
            server_keep_alive_s=self._number(0, 65_535),
        )

    def _of(self, *, will: bool = False) -> PublishProperties:
        return PublishProperties(
            payload_format=self._number(0, 1),
            message_expiry_s=self._number(0, 2**32 - 1),
            content_type=self._text(),
            response_topic=self._topic() if self._coin() else None,
            correlation_data=self._blob(),
            subscription_ids=() if will or self._coin() else (self._r.randint(1, 268_435_455), 1),
            topic_alias=None if will else self._number(1, 65_535),
            user_properties=self._pairs(),
            will_delay_s=self._number(0, 2**32 - 1) if will else None,
        )

    def _subscription(self) -> p.Subscription:
        text = self._r.choice(_FILTERS)
        no_local = self._coin() and not text.startswith("$share/")
        return p.Subscription(text, self._r.randrange(3), no_local, self._coin(), self._r.randrange(3))

    def _coin(self) -> bool:
        return self._r.random() < 0.5

    def _number(self, low: int, high: int) -> int | None:
        return self._r.choice((low, high, self._r.randint(low, high))) if self._coin() else None

    def _text(self) -> str | None:
        return "".join(self._r.choices("ab/ é€𝄞\ufeff\x01", k=self._r.randrange(8))) if self._coin() else None

    def _topic(self) -> str:
        return "".join(self._r.choices("ab/$é𝄞", k=self._r.randint(1, 8)))

    def _blob(self) -> bytes | None:
        return self._r.randbytes(self._r.randrange(12)) if self._coin() else None

    def _pairs(self) -> tuple[tuple[str, str], ...]:
        return tuple((self._text() or "", self._text() or "") for _ in range(self._r.choice((0, 0, 1, 2))))

    def _one_of(self, known: frozenset[int]) -> int:
        return self._r.choice(sorted(known))

    def _some(self, known: frozenset[int]) -> tuple[int, ...]:
        return tuple(self._r.choices(sorted(known), k=self._r.randint(1, 3)))


def mutate(data: bytes, source: random.Random) -> bytes:
    """Damage one packet's bytes: mostly its body, with the length put right so that the damage is reached."""
    if source.random() < 0.2:
        return damaged(data, source, _SPLICES)
    start = 1 + next(index for index in range(1, 5) if data[index] < 0x80)
    body = damaged(data[start:], source, _SPLICES)
    return data[:1] + varint(len(body)) + body


def invent(source: random.Random) -> bytes:
    """Make bytes that only begin like a packet, if at all."""
    body = source.randbytes(source.randrange(60))
    match source.randrange(3):
        case 0:
            return body
        case 1:
            return bytes((source.randrange(1, 16) << 4 | source.choice((0, 2)),)) + varint(len(body)) + body
        case _:
            connect = b"\0\4MQTT\5" + body
            return b"\x10" + varint(len(connect)) + connect
