"""A graph has taken over the child that trains: it says and writes what it likes, and the owner's floor holds."""

import math
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.policy import Floor, Limits, Policy
from headwater_agent.edges.children import warm_worker
from headwater_agent.edges.enclosure import Enclosure
from headwater_agent.edges.spool import FolderSpool
from headwater_agent.trainings import Trainings
from headwater_wire import codecs
from headwater_wire.messages import Metrics

from tests.fakes import agent_taken_over
from tests.fakes.agent_bench import Bench
from tests.fakes.agent_bundle import DATASET
from tests.fakes.agent_taken_over import ELEMENTS, HUGE, SECRET
from tests.support.kernels import needs_confinement

COUNT, TRAINED = 100, 80


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Effects whose child is taken over as soon as it trains, confined as the agent confines it."""
    needs_confinement()
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    made, state = Bench(tmp_path), tmp_path / "state"
    made.effects.spool = FolderSpool(state)
    made.effects.counted = {DATASET: COUNT}.get
    command = (sys.executable, "-P", agent_taken_over.__file__, "--engine", "constant")
    enclosure = Enclosure("required", (), (tmp_path,), state / "work")
    async with warm_worker(command, idle_s=60, nice=0, enclosure=enclosure) as worker:
        made.effects.worker, made.effects.trainings = worker, Trainings(worker)
        yield made


async def trained(bench: Bench, floor: Floor) -> tuple[on.Trained, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Train under a floor; give the event, and what is spooled."""
    bench.effects.policy = Policy(general=Limits(floor=floor))
    event = await bench.effects.perform(do.Train(bench.task, 1))
    assert isinstance(event, on.Trained), event
    with codecs.open_delta(await bench.effects.spool.open(bench.task.id, event.delta), "f32", ELEMENTS) as floats:
        return event, floats.load()


async def test_without_a_floor_the_attack_succeeds(bench: Bench) -> None:
    """Else what follows would prove nothing: its delta and its figures leave, but for examples that there are not."""
    event, delta = await trained(bench, Floor())
    assert (delta == HUGE).all() and event.metrics.examples == TRAINED and event.metrics.train_loss == SECRET


async def test_no_taken_over_training_lifts_the_floor(bench: Bench, tmp_path: Path) -> None:
    """The delta is clipped and blurred by another child, figures are the box's own, and there is no way in between."""
    event, delta = await trained(bench, Floor(min_examples=50, clip_norm=0.5, report_metrics=False))
    assert 0.49 < math.sqrt(float(delta.astype(np.float64) @ delta)) <= 0.5
    assert event.metrics == Metrics(examples=TRAINED, seconds=event.metrics.seconds)
    assert event.metrics.seconds < SECRET
    _, noisy = await trained(bench, Floor(clip_norm=0.5, noise_multiplier=4.0))
    _, again = await trained(bench, Floor(clip_norm=0.5, noise_multiplier=4.0))
    assert (noisy != again).all()
    assert (tmp_path / "state" / "work" / "log").read_text() == "", "it could write to no folder but its own"
    assert not list((tmp_path / "state" / "guarded").iterdir())
