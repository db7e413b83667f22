"""What every store promises of tasks."""

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest
from headwater_control.core.runs import TaskState
from headwater_control.ports import AlreadyExists, Busy, Store
from headwater_wire.ids import DeviceId, RunId, TaskId
from headwater_wire.messages import Metrics, Phase, Progress

from tests.support.rows import BOX, RUN, add_training, blob, later, round_, task
from tests.support.stores import Opener

ONE = TaskId("t1")
METRICS = Metrics(
    examples=300,
    train_loss=0.25,
    holdout_examples=60,
    holdout_loss=0.5,
    holdout_correct=54.0,
    seconds=1.5,
    holdout_absolute_error=7.5,
)


async def test_tasks_list_in_selection_order(store: Store) -> None:
    """Of one round: by their place in the selection, whatever the order they were added in."""
    async with store.write() as tx:
        await add_training(tx, "box-1", "box-2")
        await tx.runs.save_round(round_(2))
        await tx.tasks.add([task("a", 2), task("b", 10), task("c", 1, box="box-2")])
        await tx.tasks.add([task("d", 0, number=2)])
        await tx.tasks.add([])
    async with store.read() as tx:
        assert [found.id for found in await tx.tasks.of_round(RUN, 1)] == ["c", "a", "b"]
        assert await tx.tasks.of_round(RUN, 2) == (task("d", 0, number=2),)
        assert await tx.tasks.of_round(RunId("nobody"), 1) == ()
        assert await tx.tasks.get(TaskId("nobody")) is None


async def test_a_task_has_an_id_of_its_own_a_round_and_a_device(store: Store) -> None:
    """A taken id raises AlreadyExists and adds none of the batch; an unknown round or device raises KeyError."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1")])
    async with store.write() as tx:
        with pytest.raises(AlreadyExists):
            await tx.tasks.add([task("t2"), task("t1")])
        await tx.tasks.add([task("t3", 1)])
    for stray in (task("t4", number=9), task("t5", box="nobody")):
        with pytest.raises(KeyError):
            async with store.write() as tx:
                await tx.tasks.add([stray])
    async with store.read() as tx:
        assert [found.id for found in await tx.tasks.of_round(RUN, 1)] == ["t1", "t3"]


async def test_locked_tasks_are_nobody_elses_until_the_end(opener: Opener, tmp_path: Path) -> None:
    """Another transaction waits to change one; those that are not there, and repetition, change nothing."""
    async with opener(tmp_path, wait_s=0.2) as store:
        async with store.write() as tx:
            await add_training(tx)
            await tx.tasks.add([task("t1"), task("t2", 1)])
        async with store.write() as outer:
            await outer.tasks.lock([TaskId("t2"), TaskId("nobody"), ONE, ONE])
            await outer.tasks.lock([])
            with pytest.raises(Busy):
                async with store.write() as inner:
                    await inner.tasks.close(ONE, TaskState.FAILED, at=later(1))
        async with store.write() as tx:
            assert await tx.tasks.close(ONE, TaskState.FAILED, at=later(1))


async def test_a_device_is_told_its_open_tasks(store: Store) -> None:
    """Oldest first; ended ones and other devices' are not among them."""
    async with store.write() as tx:
        await add_training(tx, "box-1", "box-2")
        await tx.tasks.add([task("t3", at=later(1)), task("t2", at=later(2)), task("t1", at=later(3))])
        await tx.tasks.add([task("t4", box="box-2")])
        await tx.tasks.close(TaskId("t2"), TaskState.FAILED, at=later(4))
    async with store.read() as tx:
        assert [found.id for found in await tx.tasks.open_of(BOX)] == ["t3", "t1"]
        assert await tx.tasks.open_of(DeviceId("nobody")) == ()


async def test_a_task_ends_once(store: Store) -> None:
    """The first end counts, with its delta and metrics; a second says False and changes nothing."""
    ended = replace(
        task("t1"),
        state=TaskState.SUCCEEDED,
        closed_at=later(5),
        reason="in time",
        delta=blob("d"),
        codec="f32",
        metrics=METRICS,
        bytes_up=blob("d").size,
    )
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1")])
    async with store.write() as tx:
        assert await tx.tasks.close(
            ONE, TaskState.SUCCEEDED, at=later(5), reason="in time", delta=blob("d"), codec="f32", metrics=METRICS
        )
    async with store.write() as tx:
        assert await tx.tasks.get(ONE, lock=True) == ended
        for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.TIMED_OUT):
            assert not await tx.tasks.close(ONE, state, at=later(6), delta=blob("e"), codec="other")
        assert not await tx.tasks.close(TaskId("nobody"), TaskState.FAILED, at=later(6))
        assert await tx.tasks.get(ONE) == ended


async def test_a_success_is_dropped_once_and_nothing_else_is(store: Store) -> None:
    """It is cancelled and its delta forgotten, so that nobody merges it; metrics and bytes stay for the operator."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1"), task("open", 1), task("failed", 2)])
        await tx.tasks.close(ONE, TaskState.SUCCEEDED, at=later(1), delta=blob("d"), codec="f32", metrics=METRICS)
        await tx.tasks.close(TaskId("failed"), TaskState.FAILED, at=later(1))
        won = await tx.tasks.get(ONE)
        assert won is not None
        others = (await tx.tasks.of_round(RUN, 1))[1:]
    async with store.write() as tx:
        assert await tx.tasks.drop(ONE, at=later(2), reason="disabled")
        for name in ("t1", "open", "failed", "nobody"):
            assert not await tx.tasks.drop(TaskId(name), at=later(3), reason="again")
    async with store.read() as tx:
        dropped = replace(won, state=TaskState.CANCELLED, closed_at=later(2), reason="disabled", delta=None)
        assert await tx.tasks.of_round(RUN, 1) == (dropped, *others)
        assert blob("d").digest not in await tx.live_blobs()


async def test_of_concurrent_ends_the_first_wins(store: Store) -> None:
    """Ten transactions at once end a task: one is told True, and its delta is the one that stays."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1")])

    async def attempt(letter: str) -> str | None:
        async with store.write() as tx:
            won = await tx.tasks.close(ONE, TaskState.SUCCEEDED, at=later(1), delta=blob(letter), codec="f32")
            await asyncio.sleep(0)
            return blob(letter).digest if won else None

    outcomes = await asyncio.gather(*(attempt(letter) for letter in "0123456789"))
    async with store.read() as tx:
        found = await tx.tasks.get(ONE)
    assert found is not None
    assert found.delta is not None
    assert [outcome for outcome in outcomes if outcome] == [found.delta.digest]


async def test_an_end_that_is_rolled_back_leaves_the_task_open(store: Store) -> None:
    """Whoever comes next can end it."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1")])
    with pytest.raises(OSError, match="full"):
        async with store.write() as tx:
            assert await tx.tasks.close(ONE, TaskState.SUCCEEDED, at=later(1), delta=blob("d"))
            raise OSError("the disk is full")
    async with store.write() as tx:
        assert await tx.tasks.close(ONE, TaskState.FAILED, at=later(2))


async def test_progress_is_noted(store: Store) -> None:
    """Phase, steps, loss and what it waits for are the last ones told; progress_at is when phase or step moved."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1"), task("t2", 1)])
        await tx.tasks.note([(BOX, Progress(ONE, Phase.TRAINING, 5, 40, 0.75))], later(1))
        await tx.tasks.note([(BOX, Progress(ONE, Phase.TRAINING, 5, 40, 0.5, "mains"))], later(2))
        training = replace(task("t1"), phase=Phase.TRAINING, step=5, steps=40, loss=0.5, waiting_for="mains")
        assert await tx.tasks.get(ONE) == replace(training, progress_at=later(1))
        await tx.tasks.note([(BOX, Progress(ONE, Phase.TRAINING, 6, 40, 0.5))], later(3))
        await tx.tasks.note([(BOX, Progress(ONE, Phase.SPOOLED, 6, 40, 0.5))], later(4))
        await tx.tasks.note([], later(5))
        spooled = replace(task("t1"), phase=Phase.SPOOLED, step=6, steps=40, loss=0.5, progress_at=later(4))
        assert await tx.tasks.of_round(RUN, 1) == (spooled, task("t2", 1))


async def test_progress_of_ended_tasks_and_from_other_devices_is_ignored(store: Store) -> None:
    """Nor of tasks that are not there: the rest of the batch is noted."""
    async with store.write() as tx:
        await add_training(tx, "box-1", "box-2")
        await tx.tasks.add([task("ended"), task("t2", 1, box="box-2"), task("t1", 2)])
        await tx.tasks.close(TaskId("ended"), TaskState.CANCELLED, at=later(1))
        before = await tx.tasks.of_round(RUN, 1)
        lines = [Progress(TaskId(name), Phase.TRAINING, 1) for name in ("ended", "t2", "nobody", "t1")]
        await tx.tasks.note([(BOX, line) for line in lines], later(2))
        noted = replace(task("t1", 2), phase=Phase.TRAINING, step=1, progress_at=later(2))
        assert await tx.tasks.of_round(RUN, 1) == (*before[:2], noted)


async def test_odd_progress_spoils_no_other(store: Store) -> None:
    """NaN, infinity, text no database takes and numbers beyond 63 bits are one device's trouble."""
    odd = (
        Progress(TaskId("t1"), Phase.TRAINING, 2**64 - 1, 2**64 - 1, math.nan, "NUL \x00 and half a \ud800 letter"),
        Progress(TaskId("t2"), Phase.TRAINING, 1, 2, math.inf),
        Progress(TaskId("t3"), Phase.TRAINING, 1, 2, 0.5, "…"),
    )
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task(f"t{number}", number) for number in (1, 2, 3)])
        await tx.tasks.note([(BOX, line) for line in odd], later(1))
    async with store.read() as tx:
        first, second, third = await tx.tasks.of_round(RUN, 1)
    assert math.isnan(first.loss)
    assert first.phase is Phase.TRAINING
    assert second.loss == math.inf
    assert (third.loss, third.waiting_for) == (0.5, "…")


async def test_metrics_that_are_not_numbers_are_kept(store: Store) -> None:
    """A diverged task's metrics are what an operator wants to see."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1")])
        await tx.tasks.close(ONE, TaskState.FAILED, at=later(1), metrics=Metrics(1, math.nan, 2, math.inf, -math.inf))
        found = await tx.tasks.get(ONE)
    assert found is not None
    assert found.metrics is not None
    assert math.isnan(found.metrics.train_loss)
    assert (found.metrics.holdout_loss, found.metrics.holdout_correct) == (math.inf, -math.inf)


async def test_a_delta_that_came_too_late_is_counted_once(store: Store) -> None:
    """The task keeps when it came first, its device how many there were; of an open task, or of none, nothing."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1"), task("t2", 1)])
        await tx.tasks.close(ONE, TaskState.TIMED_OUT, at=later(60))
    for seconds in (70, 80):
        async with store.write() as tx:
            await tx.tasks.late(ONE, later(seconds))
            await tx.tasks.late(TaskId("t2"), later(seconds))
            await tx.tasks.late(TaskId("nobody"), later(seconds))
    async with store.read() as tx:
        found = [await tx.tasks.get(TaskId(name)) for name in ("t1", "t2")]
        device = await tx.devices.get(DeviceId("box-1"))
    assert [one and one.late_at for one in found] == [later(70), None]
    assert device and device.late == 1


async def test_bytes_sent_add_up(store: Store) -> None:
    """Concurrent counts lose nothing; of a task that is not there, nothing happens."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1")])

    async def send(size: int) -> None:
        async with store.write() as tx:
            await tx.tasks.add_bytes_down(ONE, size)
            await tx.tasks.add_bytes_down(TaskId("nobody"), size)

    await asyncio.gather(*(send(size) for size in range(1, 11)))
    async with store.read() as tx:
        assert await tx.tasks.get(ONE) == replace(task("t1"), bytes_down=55)
