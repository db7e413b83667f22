"""A control plane in memory with one device that has been given a task, behind real gates."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from headwater_control.core.runs import RunSpec
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.gates.grpc import GrpcGate
from headwater_control.service import runs
from headwater_control.service.world import World
from headwater_wire.ids import RunId
from headwater_wire.messages import Task

from tests.control_plane.gates.gateway import calling, open_peers
from tests.control_plane.service.driver import step
from tests.fakes.world import MODEL, Box, fake_world, import_digits


@dataclass(frozen=True)
class Training:
    """A run with an open task of the box."""

    world: World
    box: Box
    run: RunId
    task: Task


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Put a control plane together: real blobs, the store in memory, and the model `digits`."""
    made = fake_world(tmp_path, blobs=FolderBlobs(tmp_path / "blobs"))
    await import_digits(made, tmp_path)
    yield made


@pytest.fixture
async def training(world: World) -> Training:
    """Register box-1, start a run, and let the box learn of its task."""
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    (task,) = (await box.sync()).tasks
    return Training(world, box, run.id, task)


@pytest.fixture
async def stub(training: Training) -> AsyncIterator[Any]:
    """Call the gate."""
    async with calling(GrpcGate(training.world, open_peers())) as client:
        yield client
