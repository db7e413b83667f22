"""What every store promises of models and versions."""

import asyncio

import pytest
from headwater_control.core.models import Release, Version
from headwater_control.ports import AlreadyExists, Store, Transaction
from headwater_wire.ids import ModelName, RunId, VersionId

from tests.support.rows import DIGITS, FIRST, NOW, RUN, add_model, blob, model


async def add(tx: Transaction, run: str | None = None, number: int | None = None, of: str = DIGITS) -> Version:
    """Add a version."""
    made_by = None if run is None else RunId(run)
    return await tx.models.add_version(ModelName(of), blob("d"), parent=FIRST, run=made_by, round_number=number, at=NOW)


async def test_a_model_is_read_back_and_its_name_is_taken(store: Store) -> None:
    """A name stands for one model for ever."""
    async with store.write() as tx:
        await tx.models.add(model("b"))
        await tx.models.add(model("a"))
    async with store.write() as tx:
        with pytest.raises(AlreadyExists):
            await tx.models.add(model("a"))
        await tx.models.add(model("C"))  # the transaction goes on
    async with store.read() as tx:
        assert await tx.models.all() == (model("C"), model("a"), model("b"))
        assert await tx.models.get(ModelName("a")) == model("a")
        assert await tx.models.get(ModelName("other")) is None


async def test_versions_are_numbered_for_each_model(store: Store) -> None:
    """The first is 1, the next 2, whatever happens to other models; they list oldest first, not as text."""
    async with store.write() as tx:
        await add_model(tx)
        await add_model(tx, "other")
        made = [await add(tx, RUN, number) for number in range(1, 11)]
    assert [version.number for version in made] == list(range(2, 12))
    assert made[0] == Version(VersionId("digits-2"), DIGITS, 2, blob("d"), FIRST, RUN, 1, NOW)
    async with store.read() as tx:
        first, *rest = await tx.models.versions(DIGITS)
        assert (first.id, rest) == (FIRST, made)
        assert await tx.models.version(made[3].id) == made[3]
        assert await tx.models.version(VersionId("digits-99")) is None
        assert [version.number for version in await tx.models.versions(ModelName("other"))] == [1]


async def test_a_round_makes_one_version(store: Store) -> None:
    """A second version of the same (run, round) is refused, and leaves no gap; imported ones have no round."""
    async with store.write() as tx:
        await add_model(tx)
        await add(tx, RUN, 1)
    async with store.write() as tx:
        with pytest.raises(AlreadyExists):
            await add(tx, RUN, 1)
        assert (await add(tx, RUN, 2)).number == 3
        assert (await add(tx)).number == 4
        assert (await add(tx)).number == 5
        assert (await add(tx, "run-2", 1)).number == 6


async def test_a_model_that_is_not_there_has_no_versions(store: Store) -> None:
    """To add one raises KeyError; so does releasing a version that is not there."""
    async with store.write() as tx:
        with pytest.raises(KeyError):
            await add(tx, of="nobody")
        with pytest.raises(KeyError):
            await tx.models.set_release(FIRST, Release(blob("e"), blob("f")))


async def test_a_release_is_remembered(store: Store) -> None:
    """Once composed, a version's files are known."""
    async with store.write() as tx:
        await add_model(tx)
        await tx.models.set_release(FIRST, Release(blob("e"), blob("f")))
    async with store.read() as tx:
        found = await tx.models.version(FIRST)
        assert found is not None
        assert found.release == Release(blob("e"), blob("f"))


async def test_concurrent_writers_number_without_gaps(store: Store) -> None:
    """Of twelve transactions at once half fail in the end: the committed versions are 2 to 7."""
    async with store.write() as tx:
        await add_model(tx)

    async def attempt(turn: int) -> int:
        async with store.write() as tx:
            version = await add(tx, RUN, turn)
            await asyncio.sleep(0)
            if turn % 2:
                raise OSError("the merge's disk is full")
            return version.number

    numbers = await asyncio.gather(*(attempt(turn) for turn in range(12)), return_exceptions=True)
    assert sorted(number for number in numbers if isinstance(number, int)) == [2, 3, 4, 5, 6, 7]
    async with store.read() as tx:
        assert [version.number for version in await tx.models.versions(DIGITS)] == [1, 2, 3, 4, 5, 6, 7]


async def test_of_concurrent_merges_of_one_round_one_counts(store: Store) -> None:
    """Eight transactions at once add the version of the same round: one succeeds."""
    async with store.write() as tx:
        await add_model(tx)

    async def attempt() -> Version:
        async with store.write() as tx:
            return await add(tx, RUN, 1)

    outcomes = await asyncio.gather(*(attempt() for _ in range(8)), return_exceptions=True)
    assert [outcome.number for outcome in outcomes if isinstance(outcome, Version)] == [2]
    assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == 7
    async with store.read() as tx:
        assert len(await tx.models.versions(DIGITS)) == 2
