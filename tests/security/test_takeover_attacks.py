"""Attacks by a device that is in the fleet, on another one: each test is one, and shows that it fails."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest
from headwater_control.core.runs import RunSpec, TaskState
from headwater_control.edges.broker.packets import Will
from headwater_control.service import runs
from headwater_wire import convert, exchange, topics
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Failed, Receipt, ReceiptKind, SyncRequest, Task, TaskReport
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as pb

from tests.control_plane.broker.raw_client import RawClient, connected
from tests.control_plane.service.driver import step
from tests.fakes.world import MODEL, Box, import_digits
from tests.support.forging import Shown
from tests.support.stronghold import OK, PATIENCE_S, WELCOME, Stronghold, shown, stronghold

ME, OTHER = DeviceId("box-1"), DeviceId("box-2")
NOT_AUTHORIZED = 0x87
TAKEN_OVER = 0x8E
EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs


@dataclass
class Scene:
    """Two boxes with certificates; box-2 has an open task, box-1 has none."""

    held: Stronghold
    me: Shown
    other: Shown
    victim: Box
    task: Task

    async def state(self) -> TaskState:
        """Tell how the task is."""
        async with self.held.world.store.read() as tx:
            task = await tx.tasks.get(self.task.id)
        assert task is not None
        return task.state


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Enrol both, and give box-2 a task."""
    async with stronghold(tmp_path) as held:
        await import_digits(held.world, tmp_path)
        me, other = shown(await held.enrolled(ME)), shown(await held.enrolled(OTHER))
        victim = await Box(held.world, OTHER).register()
        run = await runs.start(held.world, RunSpec(MODEL, "digits", rounds=1))
        await step(held.world, run.id)
        (task,) = (await victim.sync()).tasks
        await Box(held.world, ME).register()
        yield Scene(held, me, other, victim, task)


# ── over gRPC ──────────────────────────────────────────────────────────────────────────────────────────────────


async def synced(scene: Scene, by: Shown, request: SyncRequest) -> str:
    """Sync; give the status."""
    async with scene.held.calling(by) as stub:
        try:
            await stub.Sync(exchange.sync_to(request), timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return OK


async def fetched(scene: Scene, by: Shown, device: str, digest: str) -> bytes | str:
    """Fetch a blob; give its bytes, or the status."""
    async with scene.held.calling(by) as stub:
        try:
            call = stub.Fetch(pb.FetchRequest(device=device, digest=digest), timeout=PATIENCE_S)
            return b"".join([chunk.data async for chunk in call])
        except grpc.aio.AioRpcError as error:
            return error.code().name


async def uploaded(scene: Scene, by: Shown, offer: pb.Offer, data: bytes) -> Receipt | str:
    """Upload; give the receipt, or the status."""
    async with scene.held.calling(by) as stub:
        call = stub.UploadDelta(timeout=PATIENCE_S)
        try:
            await call.write(pb.UploadPart(offer=offer))
            reply = await call.read()
            if reply is not EOF and reply.WhichOneof("reply") == "resume_at":
                await call.write(pb.UploadPart(chunk=data))
                reply = await call.read()
            if reply is EOF:
                await call
            return convert.receipt_from(reply.receipt)
        except grpc.aio.AioRpcError as error:
            return error.code().name


@pytest.mark.parametrize("claimed", [OTHER, "box-3", "control:gate", "", "../box-1", "box-1\0", "BOX-1"])
async def test_no_call_speaks_for_another(scene: Scene, claimed: str) -> None:
    """Sync, Fetch and UploadDelta under another name than the certificate's are refused, whoever that is."""
    wanted = scene.task.base.digest
    delta = b"a forged delta"
    offer = convert.offer_to(scene.victim.offer(scene.task, delta))
    offer.device = claimed
    refusals = {
        await synced(scene, scene.me, SyncRequest(DeviceId(claimed), 99, 0)),
        await fetched(scene, scene.me, claimed, wanted),
        await uploaded(scene, scene.me, offer, delta),
    }
    assert refusals <= {"PERMISSION_DENIED", "INVALID_ARGUMENT"}
    assert await scene.state() is TaskState.OPEN
    async with scene.held.world.store.read() as tx:
        device = await tx.devices.get(OTHER)
    assert device is not None
    assert device.epoch == 1, "nothing was noted of it"


async def test_a_delta_for_another_s_task_is_refused(scene: Scene) -> None:
    """Under its own name too: the task stays open, and its own box's delta is the one that counts."""
    delta = b"a forged delta"
    offer = convert.offer_to(scene.victim.offer(scene.task, delta))
    offer.device = ME
    receipt = await uploaded(scene, scene.me, offer, delta)
    assert isinstance(receipt, Receipt)
    assert (receipt.kind, "another device" in receipt.reason) == (ReceiptKind.REFUSED, True)
    assert await scene.state() is TaskState.OPEN
    honest = await uploaded(scene, scene.other, convert.offer_to(scene.victim.offer(scene.task, b"good")), b"good")
    assert isinstance(honest, Receipt)
    assert honest.kind is ReceiptKind.COMMITTED


async def test_nobody_reports_another_s_task_as_failed(scene: Scene) -> None:
    """A report in one's own Sync about another's task changes nothing."""
    report = TaskReport(scene.task.id, Failed("I say so"))
    assert await synced(scene, scene.me, SyncRequest(ME, 1, 0, reports=(report,))) == OK
    assert await scene.state() is TaskState.OPEN
    assert await synced(scene, scene.other, SyncRequest(OTHER, 1, 0, reports=(report,))) == OK
    assert await scene.state() is TaskState.FAILED


async def test_a_blob_goes_to_who_needs_it_only(scene: Scene) -> None:
    """A device without a task gets neither base nor manifest, and nobody gets what the control plane keeps besides."""
    for wanted in (scene.task.base, scene.task.bundle):
        assert await fetched(scene, scene.me, ME, wanted.digest) == "NOT_FOUND"
        assert len(await fetched(scene, scene.other, OTHER, wanted.digest)) == wanted.size
    receipt = await uploaded(scene, scene.other, convert.offer_to(scene.victim.offer(scene.task, b"mine")), b"mine")
    assert isinstance(receipt, Receipt)
    for by, device in ((scene.me, ME), (scene.other, OTHER)):
        assert await fetched(scene, by, device, receipt.digest) == "NOT_FOUND", "what was trained goes to no box"


@pytest.mark.parametrize(
    "digest",
    ["../../ca/root.key", "/etc/passwd", "..", "", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "/", "a" * 64 + "\n"],
)
async def test_no_path_is_a_digest(scene: Scene, digest: str) -> None:
    """Fetch reads blobs by their SHA-256 in lowercase hex, and nothing else; nor is such a delta taken."""
    assert await fetched(scene, scene.other, OTHER, digest) == "INVALID_ARGUMENT"
    offer = convert.offer_to(scene.victim.offer(scene.task, b"x"))
    offer.delta.digest = digest
    assert await uploaded(scene, scene.other, offer, b"x") == "INVALID_ARGUMENT"
    assert await scene.state() is TaskState.OPEN


def files(folder: Path) -> list[Path]:
    """List all there is."""
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("task", ["../task", "..", "/tmp/task", "", "task\0", "a" * 65, "task/../x"])
async def test_no_path_is_a_task(scene: Scene, tmp_path: Path, task: str) -> None:
    """An upload under such a name makes no file."""
    before = files(tmp_path)
    offer = convert.offer_to(scene.victim.offer(scene.task, b"x"))
    offer.task = task
    assert await uploaded(scene, scene.other, offer, b"x") == "INVALID_ARGUMENT"
    assert files(tmp_path) == before


# ── over MQTT ──────────────────────────────────────────────────────────────────────────────────────────────────

FOREIGN = [
    *(topics.up(OTHER, kind) for kind in topics.UP),
    *(topics.down(OTHER, kind) for kind in topics.DOWN),
    *(topics.down(ME, kind) for kind in topics.DOWN),
    topics.up(ME, "other"),
    topics.up(ME, "hello") + "/",
    "/" + topics.up(ME, "hello"),
    topics.up(ME, "hello").upper(),
    topics.up(DeviceId("box-1 "), "hello"),
    "hw/v1/d/box-1/up/../../box-2/up/hello",
    "hw/v2/d/box-1/up/hello",
    "$SYS/broker/clients/connected",
    "$share/control/hw/v1/d/box-1/up/hello",
    "$CONTROL/dynamic-security/v1",
    "anything",
]
FILTERS = [
    "#",
    "+/#",
    "hw/#",
    "hw/v1/d/+/up/#",
    "hw/v1/d/+/dn/#",
    "hw/v1/d/+/dn/task",
    "hw/v1/d/box-1/#",
    "hw/v1/d/box-1/+/task",
    "hw/v1/d/box-1/up/#",
    topics.up(ME, "hello"),
    topics.down_filter(OTHER),
    topics.down(OTHER, "task"),
    topics.CONTROL_FILTER,
    "$share/mine/hw/v1/d/+/up/#",
    "$share/mine/" + topics.down_filter(OTHER),
    "$share/mine/#",
    "$SYS/#",
    "$SYS/broker/log/#",
]


async def listens(client: RawClient) -> None:
    """Subscribe to what devices say and to what they are told, as nobody but the control plane may."""
    assert await client.subscribe("hw/#", "$SYS/#", "anything", "/#") == (1, 1, 1, 1)


def control(scene: Scene) -> Shown:
    """Show the control plane's certificate."""
    leaf = scene.held.authority.control("control:ear", scene.held.clock.now())
    return Shown(scene.held.authority.root_pem, leaf.key, leaf.chain)


@pytest.mark.parametrize("qos", [0, 1])
async def test_no_device_writes_on_a_topic_that_is_not_its_own(scene: Scene, qos: int) -> None:
    """Another's hello, anybody's orders, `$SYS`: refused with a reason, and heard by nobody; its own is heard."""
    port = scene.held.broker.port
    async with (
        connected(port, "control:ear", tls=control(scene).tls) as (ear, _),
        connected(port, ME, tls=scene.me.tls) as (client, _),
    ):
        await listens(ear)
        for topic in FOREIGN:
            assert await client.publish(topic, b"forged", qos=qos) == (NOT_AUTHORIZED if qos else None), topic
        await client.publish(topics.up(ME, "hello"), b"honest", qos=1)
        assert (await ear.message()).topic == topics.up(ME, "hello"), "the first that came is the honest one"


async def test_no_device_hears_what_is_not_for_it(scene: Scene) -> None:
    """By no filter, shared or not, does it read along, or swallow what the control plane's share is to get."""
    port = scene.held.broker.port
    async with (
        connected(port, "control:ear", tls=control(scene).tls) as (ear, _),
        connected(port, ME, tls=scene.me.tls) as (client, _),
        connected(port, OTHER, tls=scene.other.tls) as (victim, _),
    ):
        await ear.subscribe(topics.CONTROL_FILTER)
        assert await victim.subscribe(topics.down_filter(OTHER)) == (1,)
        assert set(await client.subscribe(*FILTERS)) == {NOT_AUTHORIZED}
        assert await client.subscribe(topics.down_filter(ME)) == (1,)
        for number in range(4):
            await victim.publish(topics.up(OTHER, "heartbeat"), b"%d" % number)
            await ear.ack(await ear.message())
        await ear.publish(topics.down(OTHER, "task"), b"an order")
        assert (await victim.message()).payload == b"an order"
        assert await client.so_far() == [], "nothing of that came here"


async def test_an_invalid_filter_ends_the_connection(scene: Scene) -> None:
    """Wildcards where none can stand are no way around the rules."""
    for text in ("hw/v1/d/box-1/dn/#/", "hw/v1/d/box-1#/dn", "hw/v1/d/bo+/dn/#", "$share/+/x", "$share//x"):
        async with connected(scene.held.broker.port, ME, tls=scene.me.tls) as (client, _):
            with pytest.raises(AssertionError):  # a DISCONNECT, where a SUBACK is awaited
                await client.subscribe(text)


async def test_a_last_will_speaks_for_nobody_else(scene: Scene) -> None:
    """A CONNECT whose will is on another's topic is refused; so none is published when it goes."""
    port = scene.held.broker.port
    gone = fleet.Presence(online=False, epoch=99, seq=99).SerializeToString()
    async with connected(port, "control:ear", tls=control(scene).tls) as (ear, _):
        await listens(ear)
        for topic in FOREIGN:
            async with connected(port, ME, tls=scene.me.tls, will=Will(topic, gone)) as (client, answer):
                assert answer.reason == NOT_AUTHORIZED, topic
                await client.vanish()
        own = Will(topics.up(ME, "presence"), gone)
        async with connected(port, ME, tls=scene.me.tls, will=own) as (client, answer):
            assert answer.reason == WELCOME
            await client.vanish()
        assert (await ear.message()).topic == own.topic


@pytest.mark.parametrize(
    "client_id",
    [OTHER, "", "box-3", "BOX-2", "box-2 ", "box-2\u200b", "control:gate", "auto-0123456789abcdef", "x" * 70],
)
async def test_a_valid_certificate_takes_no_other_client_over(scene: Scene, client_id: str) -> None:
    """Neither another's id, nor none, nor a strange one is accepted, and who is there stays connected."""
    port = scene.held.broker.port
    async with connected(port, OTHER, tls=scene.other.tls) as (victim, answer):
        assert answer.reason == WELCOME
        assert await scene.held.connects(scene.me, client_id) == NOT_AUTHORIZED
        assert await victim.so_far() == []
        assert await victim.publish(topics.up(OTHER, "heartbeat"), b"") is not None
    async with (
        connected(port, ME, tls=scene.me.tls) as (first, _),
        connected(port, ME, tls=scene.me.tls) as (_, answer),
    ):
        assert answer.reason == WELCOME, "one's own connection may be taken over"
        assert await first.ending() == TAKEN_OVER


async def test_credentials_beside_a_certificate_change_nothing(scene: Scene) -> None:
    """A user name and password make a device's certificate nobody else's."""
    async with connected(scene.held.broker.port, OTHER, tls=scene.me.tls, username="control", password=b"x") as (
        _,
        answer,
    ):
        assert answer.reason == NOT_AUTHORIZED
