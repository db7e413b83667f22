"""What every implementation of the port `Spool` promises: run on the folder and on the fake."""

from collections.abc import Callable
from pathlib import Path

import pytest
from headwater_agent.edges.spool import FolderSpool
from headwater_agent.ports import Damaged, Spool
from headwater_agent.training import heads
from headwater_wire.ids import TaskId

from tests.fakes.agent_bundle import blob
from tests.fakes.agent_ports import MemorySpool

Life = Callable[[], Spool]

T1, T2 = TaskId("t1"), TaskId("t2")
DELTA, OTHER = b"a delta's bytes", b"another's bytes"


def folder(root: Path) -> Life:
    """The real one: each life looks at the folder again."""
    return lambda: FolderSpool(root / "state")


def memory(root: Path) -> Life:
    """The fake, which keeps all promises but to survive its process."""
    made = MemorySpool(root)
    return lambda: made


@pytest.fixture(params=[folder, memory])
def life(request: pytest.FixtureRequest, tmp_path: Path) -> Life:
    """Begin a life of the agent with each implementation."""
    made: Life = request.param(tmp_path)
    return made


@pytest.fixture
def spool(life: Life) -> Spool:
    """Each implementation, empty."""
    return life()


def written(spool: Spool, data: bytes, task: TaskId = T1, attempt: int = 1) -> Path:
    """Write a delta as a worker does."""
    source = spool.work_path(task, attempt)
    source.write_bytes(data)
    return source


async def test_a_delta_is_kept_until_it_is_discarded(spool: Spool) -> None:
    """Taken over, not copied, and given as often as asked; to discard it twice is no mistake."""
    source = written(spool, DELTA)
    await spool.adopt(T1, source, blob(DELTA))
    assert not source.exists()
    for _ in range(2):
        assert (await spool.open(T1, blob(DELTA))).read_bytes() == DELTA
    for _ in range(2):
        await spool.discard(T1)
        with pytest.raises(Damaged):
            await spool.open(T1, blob(DELTA))


@pytest.mark.parametrize("data", [DELTA[:-1], DELTA + b"x", OTHER, None], ids=["cut", "longer", "other", "missing"])
async def test_what_is_not_the_announced_delta_is_not_adopted(spool: Spool, data: bytes | None) -> None:
    """A worker that wrote something else than it said: the one adopted before stays."""
    await spool.adopt(T1, written(spool, OTHER), blob(OTHER))
    source = written(spool, data) if data is not None else spool.work_path(T1, 2)
    with pytest.raises(Damaged):
        await spool.adopt(T1, source, blob(DELTA))
    assert (await spool.open(T1, blob(OTHER))).read_bytes() == OTHER


async def test_a_later_attempt_takes_the_place_of_an_earlier_one(spool: Spool) -> None:
    """Only the delta adopted last is given."""
    for data in (DELTA, OTHER):
        await spool.adopt(T1, written(spool, data), blob(data))
    assert (await spool.open(T1, blob(OTHER))).read_bytes() == OTHER


async def test_who_asks_for_a_replaced_delta_does_not_get_another(spool: Spool, request: pytest.FixtureRequest) -> None:
    """Its digest is no longer that of what lies there."""
    for data in (DELTA, OTHER):
        await spool.adopt(T1, written(spool, data), blob(data))
    with pytest.raises(Damaged):
        await spool.open(T1, blob(DELTA))


async def test_work_never_meets_the_work_of_another_attempt(spool: Spool) -> None:
    """Each asking names a fresh place in a folder that is there: a child that outlived its agent writes elsewhere."""
    paths = [spool.work_path(task, attempt) for task in (T1, T2) for attempt in (1, 1, 2)]
    assert len(set(paths)) == len(paths)
    assert all(path.parent.is_dir() and not path.exists() for path in paths)


def _cut(path: Path) -> None:
    path.write_bytes(DELTA[:-1])


def _flip(path: Path) -> None:
    path.write_bytes(bytes([DELTA[0] ^ 1]) + DELTA[1:])


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink])
async def test_damage_is_found_in_this_life_and_in_the_next(life: Life, damage: Callable[[Path], None]) -> None:
    """Before each upload but perhaps the first one; what is lost can be discarded like anything else."""
    spool = life()
    await spool.adopt(T1, written(spool, DELTA), blob(DELTA))
    damage(await spool.open(T1, blob(DELTA)))
    for again in (spool, life()):
        with pytest.raises(Damaged):
            await again.open(T1, blob(DELTA))
    await spool.discard(T1)


async def test_what_was_adopted_before_a_restart_is_there_after_it(life: Life) -> None:
    """The next life opens it, and sweeps around it."""
    spool = life()
    await spool.adopt(T1, written(spool, DELTA), blob(DELTA))
    again = life()
    assert await again.sweep([T1]) == ()
    assert (await again.open(T1, blob(DELTA))).read_bytes() == DELTA


async def test_a_sweep_deletes_and_names_what_no_record_tells_of(life: Life) -> None:
    """Unfinished work and deltas without a task are never uploaded blindly; a second sweep finds nothing."""
    spool = life()
    for task in (T1, T2):
        await spool.adopt(task, written(spool, DELTA, task), blob(DELTA))
    half = written(spool, b"half", TaskId("t3"))
    again = life()
    swept = await again.sweep(frozenset({T1}))
    assert sorted(name.split(".")[0] for name in swept) == ["t2", "t3"] and list(swept) == sorted(swept)
    assert not half.exists()
    with pytest.raises(Damaged):
        await again.open(T2, blob(DELTA))
    assert (await again.open(T1, blob(DELTA))).read_bytes() == DELTA
    assert await again.sweep([T1]) == ()


async def test_a_task_s_checkpoints_last_until_its_delta_is_there(life: Life) -> None:
    """Each task has a folder of its own, which a restart leaves alone; adopting and discarding empty it."""
    spool = life()
    folders = {task: spool.checkpoints(task) for task in (T1, T2, TaskId("t3"), TaskId("t4"))}
    assert len(set(folders.values())) == 4
    for path in folders.values():
        path.mkdir()
        (path / "0").write_bytes(b"a checkpoint")
    again = life()
    assert folders[TaskId("t4")].name in await again.sweep([], [T1, T2, TaskId("t3")])
    await again.adopt(T1, written(again, DELTA), blob(DELTA))
    await again.discard(T2)
    assert [task for task, path in folders.items() if path.exists()] == [TaskId("t3")]


async def test_how_far_a_training_has_come_outlives_the_agent(life: Life) -> None:
    """The step of its newest checkpoint; of what never left one, 0."""
    kept = life().checkpoints(T1)
    kept.mkdir()
    for name, steps in (("0", 7), ("1", 3)):
        (kept / name).write_bytes(heads.dump({"place": {"steps": steps}}))
    assert await life().reached(T1) == 7 and await life().reached(T2) == 0
    await life().discard(T1)
    assert await life().reached(T1) == 0
