"""A stop is quick and clean, whatever is under way and whoever does not answer."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from headwater.examples import digits
from headwater_wire import codecs, convert
from headwater_wire import digests as wire_digests
from headwater_wire.ids import TaskId
from headwater_wire.messages import Column, DatasetCard, Metrics, Offer
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub

from tests.support.fleet import Fleet, fleet, import_digits
from tests.support.standin import Standin
from tests.support.waiting import until, until_now
from tests.support.wide_model import save_wide_model

pytestmark = pytest.mark.long

STOP_S = 5.0
EPOCHS = 100  # of 1437 steps: some seconds, so that the control plane hears of it before it is over
SIDE = 64
COLUMNS = (Column("x", "float32", (SIDE,)), Column("label", "float32", (SIDE,)))


def test_an_agent_stops_in_mid_upload_though_nobody_answers(tmp_path: Path) -> None:
    """The control plane hangs, its broker with it: SIGTERM still ends the agent, and the delta is sent later."""
    with fleet(tmp_path) as made:
        _add_box(made)
        made.wait_registered()
        import_digits(made)
        run = made.client.runs.start(
            model="digits", dataset="digits", rounds=1, epochs=EPOCHS, batch_size=1, progress_deadline_s=600
        )
        until_now(lambda: _phase(made) == "training", "the box trains")
        os.kill(made.control.pid, signal.SIGSTOP)
        try:
            spool = tmp_path / "box" / "state" / "spool"
            until_now(lambda: any(spool.glob("*.delta")) and _unread(made.endpoints.grpc), "it has offered its delta")
            made.agents["box"].terminate()
            assert made.agents["box"].wait(STOP_S) == 0, made.agents["box"].tail()
        finally:
            os.kill(made.control.pid, signal.SIGCONT)
        assert any(spool.glob("*.delta"))
        made.restart("box")
        detail = made.finish(run)
    assert (detail.run.state, [task.state for task in detail.rounds[0].tasks]) == ("completed", ["succeeded"])


async def test_a_control_plane_stops_in_mid_upload(tmp_path: Path) -> None:
    """SIGTERM ends it though a box has sent half a delta and no more, and somebody watches the run."""
    with fleet(tmp_path) as made:
        save_wide_model(tmp_path / "wide.onnx", SIDE)
        made.client.models.import_file(tmp_path / "wide.onnx", loss="mse")
        box = Standin("box", DatasetCard("noise", 100, COLUMNS), made.endpoints)
        await box.register()
        await until(lambda: bool(made.registered()), "it is registered")
        run = made.client.runs.start(model="wide", dataset="noise", rounds=1)
        await until(lambda: bool(made.client.runs.show(run.id).rounds[0].tasks), "it is asked")
        watching = made.client.runs.watch(run.id)
        (task,) = next(watching).rounds[0].tasks
        codecs.write_delta(tmp_path / "delta", np.ones(SIDE * SIDE, np.float32))
        offer = Offer(box.device, TaskId(task.id), wire_digests.of_file(tmp_path / "delta"), "f32", Metrics(examples=1))
        async with box.channel() as channel:
            call = GatewayStub(channel).UploadDelta()  # type: ignore[no-untyped-call]
            await call.write(pb.UploadPart(offer=convert.offer_to(offer)))
            assert (await call.read()).resume_at == 0
            await call.write(pb.UploadPart(chunk=b"half of it"))
            made.control.terminate()
            assert await asyncio.to_thread(made.control.wait, STOP_S) == 0, made.control.tail()
        assert "Traceback" not in made.control.tail()


def _add_box(made: Fleet) -> None:
    """Add a box that trains for some seconds."""
    (made.folder / "box").mkdir()
    digits.load().save(made.folder / "box" / "digits.npz")
    made.add("box", digits.DATASET_TOML.format(path='"digits.npz"'), engine="constant")


def _phase(made: Fleet) -> str | None:
    tasks = made.client.devices.show("box").tasks
    return tasks[0].phase if tasks else None


def _unread(address: str) -> bool:
    """Say whether bytes lie in the kernel for who listens at an address, and doesn't read."""
    port = int(address.rpartition(":")[2])
    # gRPC listens on IPv4 by a socket of IPv6.
    lines = [line for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    rows = [line.split() for line in lines]
    connected = [row for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == "01"]
    return any(int(row[4].partition(":")[2], 16) for row in connected)
