"""What every store promises of runs, rounds and who leads them."""

import asyncio
from dataclasses import replace

import pytest
from headwater_control.core.runs import RoundState, RunState
from headwater_control.ports import AlreadyExists, Fenced, Store
from headwater_wire.ids import RunId, TaskId, VersionId

from tests.support.rows import NOW, RUN, add_model, add_training, later, round_, run


async def test_runs_list_oldest_first_by_state(store: Store) -> None:
    """Age decides, then the id; no state asked for means every state."""
    runs = [
        run("c", RunState.RUNNING, later(1)),
        run("b", RunState.PAUSED, later(2)),
        run("a", RunState.RUNNING, later(2)),
        run("d", RunState.COMPLETED, later(0)),
    ]
    async with store.write() as tx:
        await add_model(tx)
        for each in runs:
            await tx.runs.add(each)
    async with store.read() as tx:
        assert [found.id for found in await tx.runs.all()] == ["d", "c", "a", "b"]
        assert [found.id for found in await tx.runs.all({RunState.RUNNING, RunState.PAUSED})] == ["c", "a", "b"]
        assert await tx.runs.all((RunState.FAILED,)) == ()
        assert await tx.runs.get(RunId("b")) == runs[1]
        assert await tx.runs.get(RunId("nobody")) is None


async def test_a_run_is_added_once_and_saved_when_it_is_there(store: Store) -> None:
    """A taken id raises AlreadyExists; saving what was never added, or with a version that is not there, KeyError."""
    async with store.write() as tx:
        await add_model(tx)
        await tx.runs.add(run())
    async with store.write() as tx:
        with pytest.raises(AlreadyExists):
            await tx.runs.add(run())
        done = replace(run(), state=RunState.COMPLETED, round=4, reason="all rounds done", ended_at=later(9))
        await tx.runs.save(done)
        assert await tx.runs.get(RUN, lock=True) == done
        with pytest.raises(KeyError):
            await tx.runs.save(run("nobody"))
    with pytest.raises(KeyError):
        async with store.write() as tx:
            await tx.runs.add(replace(run("run-2"), version=VersionId("digits-99")))


async def test_one_coordinator_leads_a_run(store: Store) -> None:
    """While a lease lasts nobody else gets it; renewed, it keeps its token; run out, the next holder's is higher."""
    async with store.write() as tx:
        await add_model(tx)
        await tx.runs.add(run())
        first = await tx.runs.lead(RUN, "one", NOW, 10)
        assert first is not None
        assert await tx.runs.lead(RUN, "two", later(9.9), 10) is None
        assert await tx.runs.lead(RUN, "one", later(9.9), 10) == first
        assert await tx.runs.lead(RUN, "two", later(19.8), 10) is None
        second = await tx.runs.lead(RUN, "two", later(19.9), 10)
        assert second is not None
        assert second > first
        assert await tx.runs.lead(RUN, "one", later(20), 10) is None
        assert await tx.runs.lead(RUN, "two", later(500), 10) == second  # late, but nobody led in between
        with pytest.raises(KeyError):
            await tx.runs.lead(RunId("nobody"), "one", NOW, 10)


async def test_an_overtaken_leader_writes_nothing(store: Store) -> None:
    """With a token that is no longer the run's, neither run nor round can be saved: Fenced."""
    async with store.write() as tx:
        await add_training(tx)
        old = await tx.runs.lead(RUN, "one", NOW, 10)
        new = await tx.runs.lead(RUN, "two", later(11), 10)
    with pytest.raises(Fenced):
        async with store.write() as tx:
            await tx.runs.save(run(state=RunState.FAILED), token=old)
    with pytest.raises(Fenced):
        async with store.write() as tx:
            await tx.runs.save_round(round_(2), token=old)
    async with store.write() as tx:
        assert await tx.runs.get(RUN) == run()
        assert await tx.runs.rounds(RUN) == (round_(),)
        await tx.runs.save(run(state=RunState.PAUSED), token=new)
        await tx.runs.save_round(round_(2), token=new)
        assert (await tx.runs.all())[0].state is RunState.PAUSED
        assert len(await tx.runs.rounds(RUN)) == 2


async def test_a_run_nobody_leads_fences_every_token(store: Store) -> None:
    """A token says that its run was led; one of thin air leads nothing."""
    async with store.write() as tx:
        await add_training(tx)
    for token in (1, -1):
        with pytest.raises(Fenced):
            async with store.write() as tx:
                await tx.runs.save_round(round_(2), token=token)


async def test_saving_a_run_leaves_its_leader(store: Store) -> None:
    """An operator's pause takes nobody's lease away."""
    async with store.write() as tx:
        await add_model(tx)
        await tx.runs.add(run())
        token = await tx.runs.lead(RUN, "one", NOW, 10)
        await tx.runs.save(run(state=RunState.PAUSED))
    async with store.write() as tx:
        assert await tx.runs.lead(RUN, "two", later(5), 10) is None
        await tx.runs.save(run(state=RunState.RUNNING), token=token)


async def test_of_concurrent_coordinators_one_leads(store: Store) -> None:
    """Ten transactions at once take the lease: one gets it."""
    async with store.write() as tx:
        await add_model(tx)
        await tx.runs.add(run())

    async def attempt(holder: int) -> int | None:
        async with store.write() as tx:
            return await tx.runs.lead(RUN, f"holder-{holder}", NOW, 10)

    tokens = await asyncio.gather(*(attempt(holder) for holder in range(10)))
    assert sum(token is not None for token in tokens) == 1


async def test_rounds_list_first_to_last(store: Store) -> None:
    """By number, of this run only; saving one again replaces it."""
    merged = replace(
        round_(10, RoundState.COMMITTED),
        frozen=(TaskId("t2"), TaskId("t1")),
        merged=VersionId("digits-2"),
        collected_at=later(5),
        closed_at=later(6),
        deadline=later(7),
    )
    async with store.write() as tx:
        await add_training(tx)
        await tx.runs.add(run("run-2"))
        await tx.runs.save_round(round_(10))
        await tx.runs.save_round(round_(2))
        await tx.runs.save_round(round_(1, of="run-2"))
        await tx.runs.save_round(merged)
    async with store.read() as tx:
        assert await tx.runs.rounds(RUN) == (round_(1), round_(2), merged)
        assert await tx.runs.round(RUN, 10) == merged
        assert await tx.runs.round(RUN, 3) is None
        assert await tx.runs.rounds(RunId("nobody")) == ()


async def test_a_round_belongs_to_a_run(store: Store) -> None:
    """Of a run that is not there: KeyError, with a token or without."""
    for token in (None, 1):
        with pytest.raises((KeyError, Fenced)):
            async with store.write() as tx:
                await tx.runs.save_round(round_(of="nobody"), token=token)
