"""Deltas and packets as a broken or hostile box would send them: refused with the reason, and in nobody's way."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest
from headwater.records import RunDetail, Task
from headwater_control.edges.broker.fields import varint
from headwater_control.edges.broker.reasons import Reason
from headwater_wire import codecs, convert, topics
from headwater_wire.ids import DeviceId, Digest, TaskId
from headwater_wire.messages import Blob, Column, DatasetCard, Metrics, Offer, Receipt, ReceiptKind
from headwater_wire.v1 import gateway_pb2 as pb
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.control_plane.broker import raw_client
from tests.support.fleet import BROKER, Fleet, fleet
from tests.support.papers import papers
from tests.support.standin import EXAMPLES, Ended, Standin
from tests.support.waiting import until
from tests.support.wide_model import save_wide_model

pytestmark = pytest.mark.long

SIDE = 4
ELEMENTS = SIDE * SIDE
COLUMNS = (Column("x", "float32", (SIDE,)), Column("label", "float32", (SIDE,)))
HONEST = {"honest": 3.0, "hurried": 30.0, "torn": 300.0}  # what each adds to every parameter
IDLE = ("idle", "overflowing", "wordless", "thief")  # whose tasks are still open when the round closes


@dataclass(frozen=True, slots=True)
class Wrong:
    """A delta that is refused for good, and why."""

    data: bytes
    because: str
    codec: str = "f32"
    announced_bytes: int | None = None  # the true size by default
    examples: int = EXAMPLES


async def test_no_hostile_delta_or_packet_touches_the_honest_ones(tmp_path: Path) -> None:
    """Each is refused with its reason, on the receipt and on the task; the honest deltas are merged exactly once."""
    good = {device: _delta(tmp_path, np.full(ELEMENTS, step, np.float32)) for device, step in HONEST.items()}
    wrong = _wrong(tmp_path, good["honest"])
    with fleet(tmp_path) as made:
        boxes = await _registered(made, (*HONEST, *IDLE, *wrong, "damaged"))
        tasks = await _asked(made, boxes)
        for device, delta in wrong.items():
            receipt = await _send(boxes[device], tasks[device], delta)
            assert (receipt.kind, delta.because in receipt.reason) == (ReceiptKind.REFUSED, True), receipt
        await _send_damaged(boxes["damaged"], tasks["damaged"], good["honest"])
        await _send_without_sense(boxes, tasks, good["honest"])
        if os.environ.get(BROKER) != "mosquitto":  # whose reasons are its own
            await _send_packets(made)
        await _send_torn(boxes["torn"], tasks["torn"], good["torn"])
        first = await _send(boxes["hurried"], tasks["hurried"], Wrong(good["hurried"], ""))
        again = await _send(boxes["hurried"], tasks["hurried"], Wrong(good["honest"], ""))
        assert first == again == Receipt(ReceiptKind.COMMITTED, hashlib.sha256(good["hurried"]).hexdigest())
        last = await _send(boxes["honest"], tasks["honest"], Wrong(good["honest"], ""))
        assert last.kind is ReceiptKind.COMMITTED

        detail = await _completed(made, boxes)
        _check_tasks(detail, wrong)
        assert _merged(made, detail) == pytest.approx(np.full(ELEMENTS, sum(HONEST.values()) / len(HONEST)))
        late = await _send(boxes["idle"], tasks["idle"], Wrong(good["honest"], ""))
        assert late == Receipt(ReceiptKind.TOO_LATE, reason="the round closed without it")

        tasks = await _asked(made, boxes)
        made.client.runs.cancel(made.client.runs.list(["running"])[0].id)
        cancelled = await _send(boxes["honest"], tasks["honest"], Wrong(good["honest"], ""))
        assert (cancelled.kind, cancelled.reason != "") == (ReceiptKind.CANCELLED, True)
        assert made.deaths == []


def _wrong(folder: Path, good: bytes) -> Mapping[str, Wrong]:
    spoiled = np.zeros(ELEMENTS, np.float32)
    spoiled[5] = np.inf
    return {
        "cut": Wrong(good[:-4], "124 bytes instead of the 128"),
        "long": Wrong(good + b"\0\0\0\0", "132 bytes instead of the 128"),
        "headless": Wrong(good[64:], "not a delta file"),
        "infinite": Wrong(_delta(folder, spoiled), "the delta holds inf at element 5: every number must be finite"),
        "other-codec": Wrong(good, "the delta is coded as zip9, but f32 was asked for", codec="zip9"),
        "other-model": Wrong(
            _delta(folder, np.zeros(ELEMENTS + 1, np.float32)), "the delta has 17 numbers; the model has 16"
        ),
        "huge": Wrong(b"", "the delta has 1000000000 bytes; one of 16 float32 has at most", announced_bytes=10**9),
        "lazy": Wrong(good, "the delta was trained on no examples", examples=0),
    }


async def _send_damaged(box: Standin, task: str, good: bytes) -> None:
    """Bytes that are not the announced ones are asked for again; a box that has no others is refused."""
    parts = (_offer(box, task, Wrong(good, "")), good[::-1])
    for _ in range(2):
        with pytest.raises(Ended, match=r"ABORTED: the SHA-256 is .* the bytes were damaged; send them again"):
            await box.send(*parts)
    receipt = await box.send(*parts)
    assert receipt.kind is ReceiptKind.REFUSED
    assert "it came damaged 3 times; the last time the SHA-256 is" in receipt.reason


async def _send_without_sense(boxes: Mapping[str, Standin], tasks: Mapping[str, str], good: bytes) -> None:
    """What is no upload ends with a reason, and ends no task: the true owner may do better."""
    box = boxes["overflowing"]
    with pytest.raises(Ended, match="ABORTED: 129 bytes instead of the 128 announced"):
        await box.send(_offer(box, tasks[box.device], Wrong(good, "")), good + b"x")
    with pytest.raises(Ended, match="INVALID_ARGUMENT: an upload begins with an offer"):
        await boxes["wordless"].send(pb.UploadPart(chunk=good))
    thief = boxes["thief"]
    receipt = await _send(thief, tasks["honest"], Wrong(good, ""))
    assert receipt == Receipt(ReceiptKind.REFUSED, reason=f"task {tasks['honest']} was given to another device")
    receipt = await _send(thief, "task-of-nobody", Wrong(good, ""))
    assert receipt == Receipt(ReceiptKind.REFUSED, reason="there is no task task-of-nobody")


async def _send_torn(box: Standin, task: str, good: bytes) -> None:
    """An upload that ends early goes on where it ended."""
    offer = _offer(box, task, Wrong(good, ""))
    with pytest.raises(Ended, match="CANCELLED: the upload ended after 100 of 128 bytes: call again to resume it"):
        await box.send(offer, good[:100], torn=True)
    assert (await box.send(offer, good[100:])).kind is ReceiptKind.COMMITTED


async def _send_packets(made: Fleet) -> None:
    """The broker ends mad connections with the reason; mad messages are dropped behind it."""
    port = urlsplit(made.endpoints.mqtt).port
    assert port
    tls = (await papers(made.endpoints, "mad")).tls
    for junk in (b"\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\xff", bytes(range(256)) * 100):
        async with raw_client.opened(port, tls) as client:
            await client.send_bytes(junk)
            await client.rest()
    for junk, reason in (
        (b"\0\0", Reason.MALFORMED_PACKET),
        (b"\x32" + varint(300_000), Reason.PACKET_TOO_LARGE),
    ):
        async with raw_client.connected(port, "mad", tls=tls) as (client, _):
            await client.send_bytes(junk)
            assert await client.ending() == reason
    async with raw_client.connected(port, "mad", tls=tls) as (client, _):
        for payload in (b"\xff" * 100, bytes(100_000)):
            for kind in ("hello", "presence", "heartbeat"):
                taken = await client.publish(topics.up(DeviceId("mad"), kind), payload)
                assert taken in (Reason.SUCCESS, Reason.QUOTA_EXCEEDED), "beyond its share, if it is faster than we"
        assert await client.publish(topics.up(DeviceId("honest"), "hello"), b"") == Reason.NOT_AUTHORIZED
    await until(lambda: "dropped a message on 'hw/v1/d/mad/up/hello': not a Hello" in made.control.tail(), "it is told")


async def _registered(made: Fleet, devices: tuple[str, ...]) -> dict[str, Standin]:
    """Import the model, and register everybody."""
    file = made.folder / "wide.onnx"
    save_wide_model(file, SIDE)
    made.client.models.import_file(file, loss="mse")
    card = DatasetCard("noise", 100, COLUMNS)
    boxes = {device: Standin(device, card, made.endpoints) for device in devices}
    for box in boxes.values():
        await box.register()
    await until(lambda: len(made.registered()) == len(boxes), "all are registered")
    return boxes


async def _asked(made: Fleet, boxes: Mapping[str, Standin]) -> dict[str, str]:
    """Start a run that asks everybody for as many deltas as there are honest boxes; give each box's task."""
    run = made.client.runs.start(
        model="wide", dataset="noise", rounds=1, clients_per_round=len(HONEST), over_select=10.0
    )
    found: dict[str, str] = {}

    def asked() -> bool:
        found.update({task.device: task.id for task in _tasks(made.client.runs.show(run.id), 1)})
        return found.keys() == boxes.keys()

    await until(asked, "everybody is asked")
    return found


async def _completed(made: Fleet, boxes: Mapping[str, Standin]) -> RunDetail:
    """Score the last version with the honest boxes, and wait for the run's end."""
    (run,) = made.client.runs.list(["running"])
    await until(lambda: bool(_tasks(made.client.runs.show(run.id), 2)), "a score is asked for")
    for task in _tasks(made.client.runs.show(run.id), 2):
        if task.device in HONEST:
            await boxes[task.device].score(task.id)
    await until(lambda: made.client.runs.show(run.id).run.final, "the run ends")
    return made.client.runs.show(run.id)


def _check_tasks(detail: RunDetail, wrong: Mapping[str, Wrong]) -> None:
    assert detail.run.state == "completed", detail.run.reason
    tasks = {task.device: task for task in _tasks(detail, 1)}
    for device, delta in wrong.items():
        assert (tasks[device].state, tasks[device].reason.startswith("delta refused: ")) == ("failed", True)
        assert delta.because in tasks[device].reason
    assert tasks["damaged"].reason.startswith("delta refused: it came damaged 3 times")
    assert {tasks[device].reason for device in IDLE} == {"the round closed without it"}
    assert {device for device, task in tasks.items() if task.state == "succeeded"} == set(HONEST)


def _merged(made: Fleet, detail: RunDetail) -> NDArray[np.float32]:
    """Give the version's parameters."""
    path = made.client.versions.export(detail.run.version, made.folder / "merged.onnx")
    (weight,) = onnx.load(path).graph.initializer
    merged: NDArray[np.float32] = numpy_helper.to_array(weight).ravel()
    return merged


def _tasks(detail: RunDetail, number: int) -> tuple[Task, ...]:
    return next((found.tasks for found in detail.rounds if found.number == number), ())


async def _send(box: Standin, task: str, delta: Wrong) -> Receipt:
    return await box.send(_offer(box, task, delta), delta.data)


def _offer(box: Standin, task: str, delta: Wrong) -> pb.UploadPart:
    size = len(delta.data) if delta.announced_bytes is None else delta.announced_bytes
    blob = Blob(Digest(hashlib.sha256(delta.data).hexdigest()), size)
    metrics = Metrics(examples=delta.examples, train_loss=1.0)
    return pb.UploadPart(offer=convert.offer_to(Offer(box.device, TaskId(task), blob, delta.codec, metrics)))


def _delta(folder: Path, vector: NDArray[np.float32]) -> bytes:
    codecs.write_delta(folder / "delta", vector)
    return (folder / "delta").read_bytes()
