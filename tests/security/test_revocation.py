"""`device disable` against a real control plane: what a box has open ends, and nothing of it comes in any more."""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc.aio
import numpy as np
import onnx
import pytest
from headwater.records import RunDetail
from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.packets import Connect, Will
from headwater_control.edges.broker.reasons import Reason
from headwater_wire import codecs, convert, topics
from headwater_wire.ids import DeviceId, Digest, TaskId
from headwater_wire.messages import Blob, Column, DatasetCard, Metrics, Offer, ReceiptKind
from headwater_wire.v1 import fleet_pb2 as fleet_pb
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub
from onnx import numpy_helper

from tests.control_plane.broker.raw_client import connected
from tests.support.fleet import Fleet, fleet
from tests.support.papers import Papers, papers
from tests.support.standin import EXAMPLES, Ended, Standin
from tests.support.waiting import until
from tests.support.wide_model import save_wide_model

BITES_WITHIN_S = 2.0
SIDE = 64
ELEMENTS = SIDE * SIDE
COLUMNS = (Column("x", "float32", (SIDE,)), Column("label", "float32", (SIDE,)))


@dataclass(frozen=True)
class Delta:
    """What a box may have trained: the same step for every parameter."""

    data: bytes

    @property
    def blob(self) -> Blob:
        """Describe it."""
        return Blob(Digest(hashlib.sha256(self.data).hexdigest()), len(self.data))

    def offer(self, device: str, task: str) -> pb.UploadPart:
        """Offer it."""
        metrics = Metrics(examples=EXAMPLES, train_loss=1.0)
        return pb.UploadPart(offer=convert.offer_to(Offer(DeviceId(device), TaskId(task), self.blob, "f32", metrics)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A control plane that knows a model; each test has devices, and a dataset, of its own."""
    folder = tmp_path_factory.mktemp("revocation")
    with fleet(folder) as running:
        save_wide_model(folder / "wide.onnx", SIDE)
        running.client.models.import_file(folder / "wide.onnx", loss="mse")
        yield running


def delta(folder: Path, step: float) -> Delta:
    """Make one."""
    codecs.write_delta(folder / "delta", np.full(ELEMENTS, step, np.float32))
    return Delta((folder / "delta").read_bytes())


async def asked(
    made: Fleet, dataset: str, *devices: str, wanted: int = 1
) -> tuple[str, dict[str, Standin], dict[str, str]]:
    """Register devices and give each a task of a new run, which wants so many deltas a round."""
    boxes = {device: Standin(device, DatasetCard(dataset, 100, COLUMNS), made.endpoints) for device in devices}
    for box in boxes.values():
        await box.register()
    await until(lambda: set(devices) <= made.registered(), "all are registered")
    run = made.client.runs.start(model="wide", dataset=dataset, rounds=1, clients_per_round=wanted, over_select=10.0)
    found: dict[str, str] = {}

    def all_asked() -> bool:
        found.update({task.device: task.id for task in first_round(made.client.runs.show(run.id)).values()})
        return found.keys() == set(devices)

    await until(all_asked, "everybody is asked")
    return run.id, boxes, found


def first_round(detail: RunDetail) -> Mapping[str, Any]:
    """Give the first round's tasks by device."""
    return {task.device: task for found in detail.rounds if found.number == 1 for task in found.tasks}


def port(made: Fleet) -> int:
    """Tell the broker's port."""
    found = urlsplit(made.endpoints.mqtt).port
    assert found
    return found


async def shut_out(made: Fleet, device: str) -> None:
    """Disable a device, as an operator does."""
    with made.endpoints.client() as client:
        await asyncio.to_thread(client.devices.disable, device, "stolen")


async def synced(box: Standin) -> str:
    """Sync; give the status."""
    async with box.channel() as channel:
        try:
            await GatewayStub(channel).Sync(pb.SyncRequest(device=box.device), timeout=10)  # type: ignore[no-untyped-call]
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return "OK"


async def connects(made: Fleet, shown: Papers) -> int:
    """Connect to the broker; give the reason it answers."""
    async with connected(port(made), shown.identity.device, tls=shown.tls) as (_, answer):
        return answer.reason


@asynccontextmanager
async def uploading(box: Standin, offer: pb.UploadPart, half: bytes) -> AsyncIterator[Any]:
    """Be in the middle of an upload."""
    async with box.channel() as channel:
        call = GatewayStub(channel).UploadDelta(timeout=60)  # type: ignore[no-untyped-call]
        await call.write(offer)
        assert (await call.read()).WhichOneof("reply") == "resume_at"
        await call.write(pb.UploadPart(chunk=half))
        yield call


@asynccontextmanager
async def silent(box: Standin) -> AsyncIterator[Any]:
    """Have an upload open that has offered nothing yet; the server knows of it, since it answers what came after."""
    async with box.channel() as channel:
        stub = GatewayStub(channel)  # type: ignore[no-untyped-call]
        call = stub.UploadDelta(timeout=60)
        await call.wait_for_connection()
        await stub.Sync(pb.SyncRequest(device=box.device), timeout=10)
        yield call


@asynccontextmanager
async def idle(box: Standin) -> AsyncIterator[grpc.aio.Channel]:
    """Have a connection open on which nothing is under way."""
    async with box.channel() as channel:
        await GatewayStub(channel).Sync(pb.SyncRequest(device=box.device), timeout=10)  # type: ignore[no-untyped-call]
        yield channel


async def test_what_is_live_ends_within_two_seconds(made: Fleet, tmp_path: Path) -> None:
    """The MQTT connection and the uploads under way end with a reason, its task is cancelled, new ones are refused.

    One of these uploads has not even said whose it is: that is known by its certificate. A gRPC connection without a
    call ends too.

    Enabled, the box comes in again with the certificate it has.
    """
    run, boxes, tasks = await asked(made, "live", "live-1", "live-2")
    box, sent = boxes["live-1"], delta(tmp_path, 1.0)
    known = box.papers
    gone = Will(topics.up(box.device, "presence"), b"")
    async with (
        connected(port(made), box.device, tls=known.tls, will=gone) as (client, _),
        uploading(box, sent.offer(box.device, tasks["live-1"]), sent.data[:1000]) as call,
        silent(box) as unsaid,
        idle(box) as connection,
    ):
        await shut_out(made, box.device)
        async with asyncio.timeout(BITES_WITHIN_S):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                assert await call.read() is not None
                await call
            with pytest.raises(grpc.aio.AioRpcError, match="PERMISSION_DENIED"):
                await unsaid.read()
            assert await client.ending() == Reason.NOT_AUTHORIZED
            await connection.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "shut out" in (caught.value.details() or "")
    assert await synced(box) == "PERMISSION_DENIED"
    assert await connects(made, known) == Reason.NOT_AUTHORIZED
    with pytest.raises(Ended, match="PERMISSION_DENIED"):
        await box.send(sent.offer(box.device, tasks["live-1"]), sent.data)
    states = {device: task.state for device, task in first_round(made.client.runs.show(run)).items()}
    assert states == {"live-1": "cancelled", "live-2": "open"}
    assert await synced(boxes["live-2"]) == "OK"

    made.client.devices.enable(box.device)
    assert await synced(box) == "OK"
    assert await connects(made, known) == Reason.SUCCESS
    made.client.runs.cancel(run)


async def test_a_replaced_box_that_knocks_loses_its_connection_and_its_successor_keeps_its_own(made: Fleet) -> None:
    """What ends is the connection that was refused, not all that are open in the name of the device."""
    card = DatasetCard("twice", 100, COLUMNS)
    former, latter = Standin("twice", card, made.endpoints), Standin("twice", card, made.endpoints)
    await former.register()
    await latter.register()
    async with idle(latter) as kept, former.channel() as refused:
        stub = GatewayStub(refused)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError, match="revoked"):
            await stub.Sync(pb.SyncRequest(device="twice"), timeout=10)
        async with asyncio.timeout(BITES_WITHIN_S):
            await refused.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert kept.get_state() is grpc.ChannelConnectivity.READY


async def test_what_it_sent_for_an_open_round_does_not_count(made: Fleet, tmp_path: Path) -> None:
    """A delta that is committed, and not merged yet, is dropped with the box that sent it: the others' are merged."""
    devices = ("poison", "good-1", "good-2")
    run, boxes, tasks = await asked(made, "merged", *devices, wanted=2)
    receipt = await boxes["poison"].send((bad := delta(tmp_path, 1000.0)).offer("poison", tasks["poison"]), bad.data)
    assert receipt.kind is ReceiptKind.COMMITTED
    await shut_out(made, "poison")
    dropped = first_round(made.client.runs.show(run))["poison"]
    assert (dropped.state, "disabled" in dropped.reason) == ("cancelled", True), dropped
    for device, step in (("good-1", 1.0), ("good-2", 3.0)):
        good = delta(tmp_path, step)
        assert (await boxes[device].send(good.offer(device, tasks[device]), good.data)).kind is ReceiptKind.COMMITTED
    await until(lambda: made.client.runs.show(run).run.version != "wide-1", "the round is merged")
    detail = made.client.runs.show(run)
    (weight,) = onnx.load(made.client.versions.export(detail.run.version, tmp_path / "m.onnx")).graph.initializer
    assert numpy_helper.to_array(weight) == pytest.approx(np.full((SIDE, SIDE), 2.0))


async def test_who_is_shut_out_takes_no_place_from_others(made: Fleet, tmp_path: Path) -> None:
    """A disabled box that opens uploads by the dozen, and says nothing, is refused; no honest upload waits for that."""
    _, boxes, tasks = await asked(made, "places", "silent", "waiting")
    await shut_out(made, "silent")
    silent, sent = boxes["silent"], delta(tmp_path, 1.0)
    async with silent.channel() as channel:
        stub = GatewayStub(channel)  # type: ignore[no-untyped-call]
        calls = [stub.UploadDelta(timeout=60) for _ in range(40)]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError, match="shut out"):
                await call.read()
        assert await synced(silent) == "PERMISSION_DENIED"
        receipt = await boxes["waiting"].send(sent.offer("waiting", tasks["waiting"]), sent.data)
        assert receipt.kind is ReceiptKind.COMMITTED


async def test_its_last_will_does_not_bring_it_back(made: Fleet) -> None:
    """A box that is shut out is not taken for one that is online, though its will, published then, says so."""
    card = DatasetCard("will", 100, COLUMNS)
    box, later = Standin("will-1", card, made.endpoints), Standin("will-2", card, made.endpoints)
    await box.register()
    lie = Will(topics.up(box.device, "presence"), fleet_pb.Presence(online=True, epoch=2, seq=1).SerializeToString(), 1)
    async with connected(port(made), box.device, tls=box.papers.tls, will=lie) as (client, _):
        await until(lambda: made.client.devices.show("will-1").device.online, "it is online")
        await shut_out(made, "will-1")
        assert await client.ending() == Reason.NOT_AUTHORIZED
    await later.register()
    await until(lambda: "will-2" in made.registered(), "what was said after the will is heard")
    assert not made.client.devices.show("will-1").device.online


async def test_a_tls_session_of_before_opens_nothing(made: Fleet) -> None:
    """Who resumes a session that began before it was disabled is judged by its certificate all the same."""
    shown = await papers(made.endpoints, "resumes")
    context = shown.tls
    first = await asyncio.to_thread(introduced, made, context, None)
    await shut_out(made, "resumes")
    again = await asyncio.to_thread(introduced, made, context, first.session)
    assert (first.reason, again.resumed, again.reason) == (Reason.SUCCESS, True, Reason.NOT_AUTHORIZED)


@dataclass(frozen=True)
class Introduced:
    """What came of a CONNECT, and the TLS session it was said in."""

    reason: int
    resumed: bool
    session: ssl.SSLSession | None


def introduced(made: Fleet, context: ssl.SSLContext, session: ssl.SSLSession | None) -> Introduced:
    """Connect, within a TLS session of before if there is one."""
    with (
        socket.create_connection(("127.0.0.1", port(made)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secure,
    ):
        secure.sendall(encode(Connect("resumes", True, 60)))
        answer = secure.recv(100)  # CONNACK (MQTT 5.0, 3.2): type, length, flags, reason
        return Introduced(answer[3], bool(secure.session_reused), secure.session)
