"""A merge of many chunks, cut half-way. With LARGE=1, as `make durability` has it: ten million numbers, not one."""

import asyncio
import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from headwater.errors import Unreachable
from headwater.records import RunDetail
from headwater_wire import codecs
from headwater_wire.ids import Digest
from headwater_wire.messages import Blob, Column, DatasetCard

from tests.support.fleet import Crashes, Fleet, fleet
from tests.support.standin import Standin
from tests.support.waiting import until, until_now
from tests.support.wide_model import save_wide_model

pytestmark = pytest.mark.long

DEVICES = 20
SIDE = 3163 if os.environ.get("LARGE") else 1000  # SIDE × SIDE parameters
UPLOADS = 4  # at the same time


async def test_a_large_merge_cut_half_way_is_done_again_to_the_same_bits(tmp_path: Path) -> None:
    """Merge's child and control plane killed half-way through 20 × 10 M parameters: same bits, each delta once."""
    crashes = Crashes(tmp_path / "guards", "merge.half^")
    deltas = await asyncio.to_thread(_deltas, tmp_path)
    with fleet(tmp_path, env=crashes.env) as made:
        base = await asyncio.to_thread(_import, made)
        column = (SIDE,)
        card = DatasetCard("noise", 10, (Column("x", "float32", column), Column("label", "float32", column)))
        devices = [Standin(f"device-{number:02}", card, made.endpoints) for number in range(DEVICES)]
        cut = await _round(made, base, devices, deltas)
        assert crashes.missed == []
        assert made.deaths == ["control plane"]
        calm = await _round(made, base, devices, deltas)
        assert made.deaths == ["control plane"]
        assert [len(found.tasks) for found in cut.rounds[:1]] == [DEVICES]
        assert made.parameters(cut.run.version) == made.parameters(calm.run.version) != made.parameters(base)


async def _round(made: Fleet, base: str, devices: list[Standin], deltas: list[tuple[Path, Blob]]) -> RunDetail:
    """Carry one run of one round through; the round after it, which only scores, is cancelled with the run."""
    for device in devices:
        await device.register()
    await until(lambda: len(made.registered()) == DEVICES, "all are registered")
    run = made.client.runs.start(model="wide", dataset="noise", rounds=1, base=base, seed=1, reproducible=True)
    gate = asyncio.Semaphore(UPLOADS)

    async def serve(device: Standin, delta: tuple[Path, Blob]) -> str:
        async with gate:
            tasks = [task for task in (await device.sync()).tasks if task.run == run.id]
            receipt = await device.upload(tasks[0].id, *delta)
            return receipt.kind

    await until(lambda: bool(made.client.runs.show(run.id).rounds[0].tasks), "the round collects")
    receipts = await asyncio.gather(*(serve(device, delta) for device, delta in zip(devices, deltas, strict=True)))
    assert set(receipts) == {"committed"}

    def merged() -> bool:
        made.revive()
        with suppress(Unreachable):  # it is just being killed
            return bool(made.client.runs.show(run.id).rounds[0].merged)
        return False

    await asyncio.to_thread(until_now, merged, "the round is merged", 60.0)
    made.client.runs.cancel(run.id)
    return made.client.runs.show(run.id)


def _deltas(folder: Path) -> list[tuple[Path, Blob]]:
    made = []
    for number in range(DEVICES):
        path = folder / f"{number}.delta"
        codecs.write_delta(path, np.random.default_rng(number).standard_normal(SIDE * SIDE, np.float32))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        made.append((path, Blob(Digest(digest), path.stat().st_size)))
    return made


def _import(made: Fleet) -> str:
    file = made.folder / "wide.onnx"
    save_wide_model(file, SIDE)
    return made.client.models.import_file(file, loss="mse").version.id
