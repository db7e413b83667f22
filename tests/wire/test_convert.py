"""Records to protobuf and back; and whatever else a peer may send."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from headwater_wire import convert, exchange
from headwater_wire import messages as m
from headwater_wire.errors import Malformed
from headwater_wire.ids import TaskId
from headwater_wire.messages import SyncAnswer
from headwater_wire.plausible import TOLD_AT_ONCE
from headwater_wire.signing import parse_order
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as gateway
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import wire_records as records


def answer_to(answer: SyncAnswer) -> gateway.SyncResponse:
    """Encode, without caring for signatures."""
    return exchange.answer_to(answer, lambda order: fleet.SignedOrder(order=order.SerializeToString()))


def answer_from(answer: gateway.SyncResponse) -> SyncAnswer:
    """Decode likewise."""
    return exchange.answer_from(answer, parse_order, records.DEVICE)


Pair = tuple[st.SearchStrategy[Any], Callable[[Any], Any], Callable[[Any], Any], type[Message]]
PAIRS: dict[str, Pair] = {
    "blob": (records.BLOBS, convert.blob_to, convert.blob_from, fleet.Blob),
    "task": (records.TASKS, convert.task_to, convert.task_from, fleet.Task),
    "progress": (records.PROGRESS, convert.progress_to, convert.progress_from, fleet.Progress),
    "metrics": (records.METRICS, convert.metrics_to, convert.metrics_from, gateway.Metrics),
    "offer": (records.OFFERS, convert.offer_to, convert.offer_from, gateway.Offer),
    "receipt": (records.RECEIPTS, convert.receipt_to, convert.receipt_from, gateway.Receipt),
    "deployment": (records.DEPLOYMENTS, convert.deployment_to, convert.deployment_from, fleet.Deployment),
    "hello": (records.HELLOS, convert.hello_to, convert.hello_from, fleet.Hello),
    "sync": (records.REQUESTS, exchange.sync_to, exchange.sync_from, gateway.SyncRequest),
    "answer": (records.ANSWERS, answer_to, answer_from, gateway.SyncResponse),
    "order": (records.ORDERS, exchange.order_to, exchange.order_from, fleet.Order),
}
# What a device says is written to the database and shown over HTTP; what the control plane says, it has made itself.
FROM_DEVICES = {fleet.Blob, fleet.Progress, gateway.Metrics, gateway.Offer, fleet.Hello, gateway.SyncRequest}
pairs = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())


@pairs
@settings(max_examples=50)  # times ten kinds of record
@given(data=st.data())
def test_every_record_survives_the_journey(pair: Pair, data: st.DataObject) -> None:
    """Encoded, serialized, parsed and decoded, a record is what it was."""
    values, encode, decode, kind = pair
    record = data.draw(values)
    assert decode(kind.FromString(encode(record).SerializeToString())) == record


def leaves(message: Message) -> Iterator[tuple[Message, Any]]:
    """List every plain field of a message and of the messages in it."""
    fields: Any = message.DESCRIPTOR.fields  # the stubs know two kinds of descriptor, and neither well
    for field in fields:
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            yield message, field
        elif not field.is_repeated:
            yield from leaves(getattr(message, field.name)) if message.HasField(field.name) else ()
        elif not field.message_type.GetOptions().map_entry:
            for inner in getattr(message, field.name):
                yield from leaves(inner)


def nasty(field: Any) -> st.SearchStrategy[Any]:
    """What protobuf lets through in a field."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.sampled_from([b"", b"\xff", b"x" * 10_000])
        case FieldDescriptor.CPPTYPE_STRING:
            return st.sampled_from(["", "../up", "a\0b", "x" * 10_000, "\n", "+/#"])
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return st.sampled_from([math.nan, math.inf, -math.inf, -1.0])
        case FieldDescriptor.CPPTYPE_UINT64:
            return st.sampled_from([0, 1 << 63, (1 << 64) - 1])
        case FieldDescriptor.CPPTYPE_INT64:
            return st.sampled_from([-(1 << 63), (1 << 63) - 1])
        case FieldDescriptor.CPPTYPE_UINT32:
            return st.sampled_from([0, (1 << 32) - 1])
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from([0, 77, -1])
        case _:
            return st.booleans()


@pairs
@settings(max_examples=100)
@given(data=st.data())
def test_a_message_beyond_the_contract_is_a_record_or_malformed(pair: Pair, data: st.DataObject) -> None:
    """Whatever a field holds: `Malformed` is raised, or the record is one that a database and JSON can hold."""
    values, encode, decode, kind = pair
    message = encode(data.draw(values))
    if places := list(leaves(message)):
        place, field = data.draw(st.sampled_from(places))
        if field.is_repeated:
            getattr(place, field.name).append(data.draw(nasty(field)))
        else:
            setattr(place, field.name, data.draw(nasty(field)))
    try:
        record = decode(kind.FromString(message.SerializeToString()))
    except Malformed as error:
        assert len(str(error)) < 400
        return
    decode(encode(record))  # what was accepted can be passed on
    if kind in FROM_DEVICES:
        text = json.dumps(asdict(record), allow_nan=False)
        assert "\\u0000" not in text
        assert all(int(number) < 1 << 63 for number in re.findall(r"\b\d{19,20}\b", text))


@given(data=st.binary(max_size=60))
def test_random_bytes_are_no_trouble(data: bytes) -> None:
    """Random bytes, which protobuf often accepts as unknown fields, end in a record or in `Malformed`."""
    for _, _, decode, kind in PAIRS.values():
        with suppress(DecodeError, Malformed):
            decode(kind.FromString(data))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_reads_as_the_largest(number: float) -> None:
    """Neither JSON nor SQLite can hold it, and a diverged model's loss is large."""
    assert convert.metrics_from(gateway.Metrics(train_loss=number)).train_loss > 1e300
    line = fleet.Progress(task="t", phase=fleet.TRAINING, loss=number)
    assert convert.progress_from(line).loss > 1e300


def test_a_figure_that_a_peer_does_not_tell_is_none_and_nought_is_told() -> None:
    """An older peer knows no absolute error, and not every loss has one: that is not an error of 0."""
    assert convert.metrics_from(gateway.Metrics(examples=1)) == m.Metrics(examples=1)
    perfect = m.Metrics(holdout_correct=0.0, holdout_absolute_error=0.0)
    assert convert.metrics_from(gateway.Metrics.FromString(convert.metrics_to(perfect).SerializeToString())) == perfect


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (convert.blob_from, fleet.Blob(digest="0" * 64, size=1 << 63)),
        (convert.hello_from, fleet.Hello(epoch=(1 << 64) - 1)),
        (convert.metrics_from, gateway.Metrics(examples=1 << 63)),
        (exchange.sync_from, gateway.SyncRequest(device="d", revision=1 << 63)),
        (convert.progress_from, fleet.Progress(task="t", step=1 << 63)),
    ],
)
def test_a_count_beyond_a_database_is_malformed(decode: Callable[[Message], object], message: Message) -> None:
    """It would fail in a write, with the other writes of its batch."""
    with pytest.raises(Malformed, match="too large to be true"):
        decode(message)


def test_text_is_cut_and_free_of_nul() -> None:
    """A device can't fill the database with words, nor break PostgreSQL with a NUL."""
    hello = convert.hello_from(fleet.Hello(inventory=fleet.Inventory(hostname="a\0b" + "x" * 1000)))
    assert hello.inventory.hostname.startswith("a\N{REPLACEMENT CHARACTER}bxxx")
    assert len(hello.inventory.hostname) == 200


def test_an_unknown_receipt_is_malformed() -> None:
    """A guess could delete a delta."""
    for kind in (gateway.RECEIPT_UNSPECIFIED, 77):
        with pytest.raises(Malformed, match="unknown kind"):
            convert.receipt_from(gateway.Receipt(kind=kind))  # type: ignore[arg-type]  # an enum is open on the wire


def test_an_unknown_phase_reads_as_accepted() -> None:
    """A phase is for people: a newer agent's must not stop its heartbeat."""
    line = fleet.Progress(task="t", phase=77)  # type: ignore[arg-type]  # likewise
    assert convert.progress_from(line) == m.Progress(TaskId("t"), m.Phase.ACCEPTED)


def test_a_report_without_an_outcome_is_malformed() -> None:
    """It says nothing."""
    request = gateway.SyncRequest(device="d", reports=[gateway.TaskReport(task="t")])
    with pytest.raises(Malformed, match="no outcome"):
        exchange.sync_from(request)


@pytest.mark.parametrize(
    "told",
    [
        {"held": [gateway.HeldTask(task="t")]},
        {"reports": [gateway.TaskReport(task="t", failed="x")]},
        {"deployments": [gateway.DeploymentReport(rollout="r", model="m")]},
    ],
)
def test_a_sync_tells_of_so_many_things_at_once(told: dict[str, Any]) -> None:
    """All other devices wait while each is looked up: a megabyte of them would take minutes."""
    most: dict[str, Any] = {kind: things * TOLD_AT_ONCE for kind, things in told.items()}
    assert exchange.sync_from(gateway.SyncRequest(device="d", **most)).device == "d"
    more: dict[str, Any] = {kind: things * (TOLD_AT_ONCE + 1) for kind, things in told.items()}
    with pytest.raises(Malformed, match="1000 at most"):
        exchange.sync_from(gateway.SyncRequest(device="d", **more))


def test_a_registration_that_is_shown_is_the_one_whose_hash_is_told() -> None:
    """Else the control plane would remember another under it, and not ask again."""
    hello = convert.hello_bytes(m.Hello(1, m.Inventory()))
    for wrong, told in ((hello, "0" * 64), (b"\xff\xff", hashlib.sha256(b"\xff\xff").hexdigest())):
        with pytest.raises(Malformed, match=r"registration is not the one|not a Hello"):
            exchange.sync_from(gateway.SyncRequest(device="d", hello=wrong, hello_hash=told))


@pytest.mark.parametrize("field", ["id", "run", "device", "dataset", "base_version"])
def test_a_task_s_names_are_names(field: str) -> None:
    """None of them can be a path."""
    blob = fleet.Blob(digest="0" * 64)
    names = dict.fromkeys(("id", "run", "device", "dataset", "base_version"), "a")
    task = fleet.Task(**names, bundle=blob, base=blob, plan=fleet.Plan(batch_size=1))  # type: ignore[arg-type]
    assert convert.task_from(task).id == "a"
    setattr(task, field, "../etc")
    with pytest.raises(Malformed):
        convert.task_from(task)


@pytest.mark.parametrize("plan", [fleet.Plan(batch_size=0), fleet.Plan(batch_size=1, holdout=1.0)])
def test_a_plan_that_can_not_train_is_malformed(plan: fleet.Plan) -> None:
    """No batch, or nothing left to train on."""
    with pytest.raises(Malformed, match="its plan has"):
        convert.task_from(fleet.Task(id="t", plan=plan))


def test_a_sync_answer_always_paces_heartbeats() -> None:
    """An answer without a pace must not make an agent spin."""
    assert answer_from(gateway.SyncResponse()).heartbeat_s == 1
