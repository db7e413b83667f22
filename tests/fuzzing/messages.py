"""Protobuf messages of both sides: nothing but a `WireError` comes out of what reads them.

What is accepted is a record that both sides can keep: written and read again it is the same.
"""

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from google.protobuf.message import DecodeError, Message
from headwater_agent.edges import downward
from headwater_control.gates import mqtt
from headwater_wire import convert, exchange, invitation, plausible, signing, topics
from headwater_wire.errors import WireError
from headwater_wire.ids import DeviceId
from headwater_wire.v1 import enrolment_pb2 as enrolment
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as gateway

from tests.fuzzing.damage import damaged
from tests.fuzzing.fields import fill
from tests.support.signing import SIGNER, STRANGER, trust

_BOX = DeviceId("box-1")
_TRUST = trust()
_TOPICS = (
    b"hw/v1/d/box-1/dn/task",
    b"hw/v1/d/box-2/dn/task",
    b"hw/v1/d//dn/task",
    b"hw/v1/d/box-1/up/hello",
    b"",
    b"/\xff",
)
_KEYS = {SIGNER.id: SIGNER.public}


@dataclass(frozen=True, slots=True)
class Reader:
    """One way in. `kind` is what it wants to be told, `read` takes the bytes; `write` gives a record's message."""

    kind: type[Message]
    read: Callable[[bytes], object]
    write: Callable[[Any], Message] | None = None


def _parsed(kind: type[Message], read: Callable[[Any], object]) -> Callable[[bytes], object]:
    return lambda data: read(kind.FromString(data))  # by gRPC, before it is ours


def _told(kind: str) -> Callable[[bytes], object]:
    return lambda data: downward.read(_BOX, topics.down(_BOX, kind), data, _TRUST)


def _beat(data: bytes) -> object:
    heartbeat = mqtt._parse(fleet.Heartbeat, data)
    plausible.count(heartbeat.epoch, "epoch"), plausible.count(heartbeat.revision, "revision")
    return tuple(convert.progress_from(line) for line in heartbeat.progress)


def _addressed(data: bytes) -> object:
    topic, _, payload = data.partition(b"\n")
    return downward.read(_BOX, topic.decode("latin-1"), payload, _TRUST)


def _answer(response: gateway.SyncResponse) -> object:
    _TRUST.learn(response.keys) if response.HasField("keys") else None
    return exchange.answer_from(response, _TRUST.read, _BOX)


def _pasted(data: bytes) -> object:
    found = invitation.decode(data.decode("utf-8", "surrogateescape"))
    if invitation.decode(invitation.encode(found)) != found:
        raise AssertionError(f"{found} is read back otherwise")
    return found


READERS = (
    Reader(fleet.Task, _parsed(fleet.Task, convert.task_from), convert.task_to),
    Reader(fleet.Deployment, _parsed(fleet.Deployment, convert.deployment_from), convert.deployment_to),
    Reader(fleet.Order, _parsed(fleet.Order, exchange.order_from), exchange.order_to),
    Reader(fleet.Blob, _parsed(fleet.Blob, convert.blob_from), convert.blob_to),
    Reader(fleet.Progress, _parsed(fleet.Progress, convert.progress_from), convert.progress_to),
    Reader(fleet.Hello, lambda data: convert.hello_from(mqtt._parse(fleet.Hello, data)), convert.hello_to),
    Reader(fleet.Heartbeat, _beat),
    Reader(fleet.Presence, lambda data: mqtt._parse(fleet.Presence, data)),
    Reader(gateway.Metrics, _parsed(gateway.Metrics, convert.metrics_from), convert.metrics_to),
    Reader(gateway.Offer, _parsed(gateway.Offer, convert.offer_from), convert.offer_to),
    Reader(gateway.Receipt, _parsed(gateway.Receipt, convert.receipt_from), convert.receipt_to),
    Reader(gateway.SyncRequest, _parsed(gateway.SyncRequest, exchange.sync_from), exchange.sync_to),
    Reader(gateway.SyncResponse, _parsed(gateway.SyncResponse, _answer)),
    Reader(gateway.SignedKeys, _parsed(gateway.SignedKeys, lambda signed: signing.read_keys(signed, _KEYS))),
    Reader(gateway.KeySet, _parsed(gateway.KeySet, signing.keys_of)),
    Reader(fleet.SignedOrder, _told("task")),
    Reader(fleet.SignedOrder, _told("deployment")),
    Reader(fleet.SyncRing, _told("sync")),
    Reader(fleet.SignedOrder, _addressed),
    Reader(enrolment.Invitation, _pasted),
)


class Messages:
    """An input begins with the number of its reader (one byte)."""

    def make(self, source: random.Random) -> bytes:
        """Fill a message, and mostly leave it whole: damaged bytes seldom get past protobuf's own reader."""
        number = source.randrange(len(READERS))
        draw = source.random()
        if draw < 0.08:
            data = source.randbytes(source.randrange(60))
        else:
            data = _made(READERS[number], source)
            if draw < 0.4:
                data = damaged(data, source)
        return bytes((number,)) + data

    def check(self, data: bytes) -> str:
        """Read it as its reader does."""
        reader = READERS[data[0] % len(READERS)]
        try:
            record = reader.read(data[1:])
        except DecodeError:
            return "no protobuf"
        except WireError as error:
            if not str(error):
                raise AssertionError("it is refused without a reason") from error
            return type(error).__name__.lower()
        if reader.write is not None:
            again = reader.read(reader.write(record).SerializeToString())
            if repr(again) != repr(record):  # of two NaNs that is what can be compared
                raise AssertionError(f"{record!r} is read back as {again!r}")
        return "accepted"


def _made(reader: Reader, source: random.Random) -> bytes:
    message = reader.kind()
    fill(message, source)
    match message:
        case fleet.SignedOrder():
            topic = source.choice(_TOPICS) + b"\n" if reader.read is _addressed else b""
            return topic + _signed(source).SerializeToString()
        case gateway.SyncResponse():
            del message.orders[:]
            message.orders.extend(_signed(source) for _ in range(source.randrange(3)))
            if source.random() < 0.5:
                message.ClearField("keys")
            else:
                message.keys.CopyFrom(SIGNER.keys())
        case gateway.SignedKeys() if source.random() < 0.7:
            return source.choice((SIGNER, STRANGER)).keys().SerializeToString()
        case enrolment.Invitation() if source.random() < 0.9:
            data = message.SerializeToString() if source.random() < 0.7 else source.randbytes(40)
            checked = data + sha256(b"hw1." + data).digest()[:4]
            return b"hw1." + base64.urlsafe_b64encode(checked).rstrip(b"=")
    return message.SerializeToString()


def _signed(source: random.Random) -> fleet.SignedOrder:
    """Sign an order that is mostly well-formed and by the right key; else get one of the three wrong."""
    order = fleet.Order()
    fill(order, source)
    draw = source.random()
    signed = (SIGNER if draw < 0.85 else STRANGER).order(order)
    if draw > 0.97:
        signed.order = damaged(signed.order, source)
    elif draw > 0.94:
        signed.signature = damaged(signed.signature, source)
    return signed
