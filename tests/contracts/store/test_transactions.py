"""What every store promises of views and transactions."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from headwater_control.core.audit import Caller, deed
from headwater_control.core.fleet import Beat
from headwater_control.core.models import Bundle, Release
from headwater_control.core.runs import RoundState, TaskState
from headwater_control.ports import Busy, Store, Transaction
from headwater_wire.ids import DeviceId, Digest, TaskId
from headwater_wire.messages import Phase, Progress

from tests.support.rows import (
    BOX,
    DIGITS,
    FIRST,
    NOW,
    RUN,
    add_training,
    blob,
    deployment,
    device,
    later,
    model,
    rollout,
    round_,
    run,
    task,
)
from tests.support.stores import Opener

CHANGES: dict[str, Callable[[Transaction], Awaitable[object]]] = {
    "devices.get": lambda tx: tx.devices.get(BOX, lock=True),
    "devices.several": lambda tx: tx.devices.several([BOX], lock=True),
    "devices.save": lambda tx: tx.devices.save(device()),
    "devices.touch": lambda tx: tx.devices.touch([Beat(BOX, 1, 1, NOW)]),
    "devices.raise_revision": lambda tx: tx.devices.raise_revision([BOX]),
    "bundles.add": lambda tx: tx.bundles.add(Bundle(DIGITS, "adam", blob("a"), ())),
    "models.add": lambda tx: tx.models.add(model("other")),
    "models.add_version": lambda tx: tx.models.add_version(
        DIGITS, blob("d"), parent=None, run=None, round_number=None, at=NOW
    ),
    "models.set_release": lambda tx: tx.models.set_release(FIRST, Release(blob("e"), blob("f"))),
    "runs.add": lambda tx: tx.runs.add(run("run-2")),
    "runs.get": lambda tx: tx.runs.get(RUN, lock=True),
    "runs.save": lambda tx: tx.runs.save(run()),
    "runs.lead": lambda tx: tx.runs.lead(RUN, "one", NOW, 10),
    "runs.round": lambda tx: tx.runs.round(RUN, 1, lock=True),
    "runs.save_round": lambda tx: tx.runs.save_round(round_(2)),
    "tasks.add": lambda tx: tx.tasks.add([task("t2")]),
    "tasks.get": lambda tx: tx.tasks.get(TaskId("t1"), lock=True),
    "tasks.lock": lambda tx: tx.tasks.lock([TaskId("t1"), TaskId("none")]),
    "tasks.close": lambda tx: tx.tasks.close(TaskId("t1"), TaskState.FAILED, at=NOW),
    "tasks.note": lambda tx: tx.tasks.note([(BOX, Progress(TaskId("t1"), Phase.TRAINING))], NOW),
    "tasks.add_bytes_down": lambda tx: tx.tasks.add_bytes_down(TaskId("t1"), 1),
    "rollouts.add": lambda tx: tx.rollouts.add(rollout("rollout-2", 2), ()),
    "rollouts.save": lambda tx: tx.rollouts.save(rollout()),
    "rollouts.save_deployment": lambda tx: tx.rollouts.save_deployment(deployment(rollout())),
    "audit.append": lambda tx: tx.audit.append(deed("run.start", RUN, None, run()), Caller("somebody"), NOW),
}


async def test_an_exception_rolls_everything_back(store: Store) -> None:
    """Of a transaction that fails nothing is seen, by anybody, ever; and the next one is none the wiser."""
    with pytest.raises(OSError, match="full"):
        async with store.write() as tx:
            await add_training(tx)
            await tx.tasks.add([task("t1")])
            raise OSError("the disk is full")
    async with store.write() as tx:
        assert await tx.devices.matching() == ()
        assert await tx.models.all() == ()
        assert await tx.runs.all() == ()
        await add_training(tx)


async def test_nothing_is_seen_before_the_commit(store: Store) -> None:
    """A view shows what was committed when it was first read, and goes on showing that."""
    async with store.write() as tx:
        await tx.devices.save(device("a"))
    async with store.read() as before:
        assert len(await before.devices.matching()) == 1
        async with store.write() as tx:
            await tx.devices.save(device("b"))
            async with store.read() as during:
                assert len(await during.devices.matching()) == 1
        assert len(await before.devices.matching()) == 1
        assert await before.devices.get(DeviceId("b")) is None
    async with store.read() as after:
        assert len(await after.devices.matching()) == 2


async def test_a_transaction_sees_its_own_changes(store: Store) -> None:
    """Also those made many at once."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1")])
        assert await tx.devices.raise_revision([BOX]) == {BOX: 1}
        assert (await tx.devices.matching())[0].revision == 1
        await tx.tasks.close(TaskId("t1"), TaskState.CANCELLED, at=NOW)
        assert await tx.tasks.open_of(BOX) == ()


@pytest.mark.parametrize("name", CHANGES)
async def test_a_view_changes_and_locks_nothing(store: Store, name: str) -> None:
    """RuntimeError, for everything that does either; within a write() the same works."""
    async with store.write() as tx:
        await add_training(tx)
        await tx.tasks.add([task("t1")])
        await tx.rollouts.add(rollout(), ())
    with pytest.raises(RuntimeError, match="write"):
        async with store.read() as view:
            await CHANGES[name](view)
    async with store.write() as tx:
        await CHANGES[name](tx)


async def test_a_cancelled_transaction_is_rolled_back(store: Store) -> None:
    """Whatever it waits for when it is cancelled, and the store goes on working."""
    async with store.write() as tx:
        await tx.devices.save(device())

    async def raise_for_ever() -> None:
        async with store.write() as tx:
            while True:
                await tx.devices.raise_revision([BOX])
                await asyncio.sleep(0)

    kept = []  # what refers to a statement torn apart: it would hold its lock
    for turns in range(40):
        doomed = asyncio.create_task(raise_for_ever())
        for _ in range(turns):
            await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await doomed
        kept.append(caught)
        async with asyncio.timeout(10), store.write() as tx:
            assert await tx.devices.raise_revision([BOX]) == {BOX: turns + 1}


async def test_a_cancelled_view_is_given_back(store: Store) -> None:
    """However many are cancelled, others can be opened: no connection is lost."""
    async with store.write() as tx:
        await tx.devices.save(device())

    async def look_for_ever() -> None:
        async with store.read() as tx:
            while True:
                await tx.devices.matching()
                await asyncio.sleep(0)

    for turns in range(30):
        doomed = asyncio.create_task(look_for_ever())
        for _ in range(turns):
            await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
    async with asyncio.timeout(10), store.read() as tx:
        assert await tx.devices.get(BOX) == device()


async def test_what_waits_too_long_is_busy(opener: Opener, tmp_path: Path) -> None:
    """A transaction that waits for another one's row ends with Busy, not never; the other one is unharmed."""
    async with opener(tmp_path, wait_s=0.2) as store:
        async with store.write() as tx:
            await tx.devices.save(device())
        async with store.write() as outer:
            await outer.devices.raise_revision([BOX])
            with pytest.raises(Busy):
                async with store.write() as inner:
                    await inner.devices.raise_revision([BOX])
        async with store.write() as tx:
            assert await tx.devices.raise_revision([BOX]) == {BOX: 2}


async def test_many_views_and_transactions_at_once_all_end(store: Store) -> None:
    """More than there are connections wait for their turn."""
    async with store.write() as tx:
        await tx.devices.save(device())

    async def look() -> None:
        async with store.read() as tx:
            assert await tx.devices.get(BOX) is not None

    async def change() -> None:
        async with store.write() as tx:
            await tx.devices.raise_revision([BOX])

    await asyncio.gather(*(each() for _ in range(40) for each in (look, change)))
    async with store.read() as tx:
        assert await tx.devices.get(BOX) == device(revision=40)


async def test_live_blobs_are_those_that_rows_need(store: Store) -> None:
    """Bundles, graphs, versions and releases always; deltas only while their round may still be merged."""
    async with store.write() as tx:
        assert await tx.live_blobs() == frozenset()
        await add_training(tx)
        for number, letter in ((1, "1"), (2, "2"), (3, "3"), (4, "4")):
            await tx.runs.save_round(round_(number))
            await tx.tasks.add([task(f"t{number}", number=number), task(f"open{number}", 1, number=number)])
            await tx.tasks.close(TaskId(f"t{number}"), TaskState.SUCCEEDED, at=later(1), delta=blob(letter))
        await tx.models.set_release(FIRST, Release(blob("e"), blob("f")))
        for number, state in ((2, RoundState.MERGING), (3, RoundState.COMMITTED), (4, RoundState.ABANDONED)):
            await tx.runs.save_round(replace(round_(number), state=state))
        await tx.models.add_version(DIGITS, blob("d"), parent=FIRST, run=RUN, round_number=3, at=NOW)
    async with store.read() as tx:
        assert await tx.live_blobs() == {blob(letter).digest for letter in "abcdef12"}
        asked = frozenset(blob(letter).digest for letter in "ace13") | {Digest(f"{n:064x}") for n in range(3000)}
        assert await tx.live_blobs(asked) == {blob(letter).digest for letter in "ace1"}
        assert await tx.live_blobs(frozenset()) == frozenset()
    async with store.write() as tx:
        await tx.bundles.add(Bundle(DIGITS, "adam", blob("a"), (blob("b"), blob("3"))))
        assert await tx.live_blobs() == {blob(letter).digest for letter in "abcdef123"}
