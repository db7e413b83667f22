"""Starting and steering a run: what is refused, and in which words."""

from dataclasses import replace
from pathlib import Path

import pytest
from headwater_control.core.runs import RunSpec, RunState
from headwater_control.service import models, runs
from headwater_control.service.errors import Conflict, Invalid, NotFound
from headwater_control.service.world import World
from headwater_wire.ids import ModelName, RunId, VersionId

from tests.fakes.world import DIGITS, MODEL, Box

REQUEST = RunSpec(MODEL, "digits")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rounds": 0}, "rounds is 0, but must be 1 to 100000"),
        ({"clients_per_round": -1}, "clients_per_round is -1"),
        ({"over_select": 0.5}, "over_select is 0.5"),
        ({"quorum": 0.0}, "quorum is 0.0"),
        ({"round_deadline_s": float("nan")}, "round_deadline_s is nan"),
        ({"progress_deadline_s": 0.0}, "progress_deadline_s is 0.0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"holdout": 1.0}, "holdout is 1.0, but must be at least 0, below 1"),
        ({"seed": -1}, "seed is -1"),
        ({"strategy": "magic"}, "there is no strategy 'magic': choose one of fedavg"),
        ({"dataset": "no/path"}, "is not a name"),
        ({"dataset": "faults"}, "none of the 1 registered devices has a dataset named faults (they have: digits)"),
        ({"cohort": (("site", "b"),)}, "no registered device has site=b: `headwater device list` shows their labels"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_request_that_makes_no_sense_is_refused(world: World, change: dict[str, object], said: str) -> None:
    """The sentence names the field, its value and what would do."""
    await Box(world, "box-1", {"site": "a"}).register()
    with pytest.raises(Invalid) as refusal:
        await runs.start(world, replace(REQUEST, **change))  # type: ignore[arg-type]
    assert said in str(refusal.value)
    assert await runs.list_runs(world) == ()


async def test_a_run_starts_from_the_newest_version_unless_told(world: World, tmp_path: Path) -> None:
    """The base may be named; one of another model may not."""
    await Box(world, "box-1", datasets=(DIGITS,)).register()
    (tmp_path / "w.npz").write_bytes(b"retrained")
    (tmp_path / "o.onnx").write_bytes(b"other")
    await models.import_version(world, "digits", tmp_path / "w.npz")
    await models.import_model(world, "other", tmp_path / "o.onnx", loss="mse")
    assert (await runs.start(world, REQUEST)).version == "digits-2"
    assert (await runs.start(world, replace(REQUEST, base=VersionId("digits-1")))).version == "digits-1"
    with pytest.raises(Invalid, match="version other-1 is of model other, not of digits"):
        await runs.start(world, replace(REQUEST, base=VersionId("other-1")))


async def test_what_is_not_there_is_not_found(world: World) -> None:
    """Model, version and run are named in the refusal."""
    with pytest.raises(NotFound, match=r"there is no model 'mnist' \(models: digits\)"):
        await runs.start(world, replace(REQUEST, model=ModelName("mnist")))
    with pytest.raises(NotFound, match="there is no version 'digits-9'"):
        await runs.start(world, replace(REQUEST, base=VersionId("digits-9")))
    for use in (runs.pause, runs.resume, runs.cancel, runs.show_run):
        with pytest.raises(NotFound, match="there is no run 'run-x'"):
            await use(world, RunId("run-x"))


async def test_steering_is_idempotent_until_the_end(world: World) -> None:
    """Pausing a paused run changes nothing; after its end a run can't be steered."""
    await Box(world, "box-1").register()
    run = await runs.start(world, REQUEST)
    for _ in range(2):
        assert (await runs.pause(world, run.id)).state is RunState.PAUSED
    for _ in range(2):
        assert (await runs.resume(world, run.id)).state is RunState.RUNNING
    assert (await runs.cancel(world, run.id)).state is RunState.CANCELLED
    for use in (runs.pause, runs.resume):
        with pytest.raises(Conflict, match=r"has ended \(cancelled\): start a new one"):
            await use(world, run.id)
    assert [found.id for found in await runs.list_runs(world, (RunState.CANCELLED,))] == [run.id]
    assert await runs.list_runs(world, (RunState.RUNNING,)) == ()
