"""What every store promises of the audit log."""

import asyncio
from datetime import datetime

import pytest
from headwater_control.core.audit import START, Caller, Deed, Entry, broken, cut
from headwater_control.ports import Store, Transaction
from hypothesis import HealthCheck, given, settings

from tests.support import records
from tests.support.rows import BOX, NOW, device

MANY = 20


class RolledBack(Exception):
    """Ends a transaction."""


async def append(tx: Transaction, subject: str) -> Entry:
    """Add an entry."""
    return await tx.audit.append(Deed("run.pause", subject, "{}", "{}"), Caller("somebody", "::1", "r-1"), NOW)


async def whole(store: Store) -> list[str]:
    """Check the chain; list the subjects."""
    async with store.read() as tx:
        entries, head = await tx.audit.entries(0, 1000), await tx.audit.head()
    last = START
    for entry in entries:
        assert broken(entry, last) == ""
        last = entry.head
    assert cut(last, head) == ""
    return [entry.subject for entry in entries]


async def test_a_log_begins_empty_and_is_read_in_pages(store: Store) -> None:
    """What follows a number, oldest first, so many at a time."""
    assert await whole(store) == []
    for subject in ("a", "b", "c"):
        async with store.write() as tx:
            entry = await append(tx, subject)
            assert await tx.audit.head() == entry.head
    assert await whole(store) == ["a", "b", "c"]
    async with store.read() as tx:
        assert await tx.audit.entries(2, 10) == (entry,)
        assert [found.number for found in await tx.audit.entries(0, 2)] == [1, 2]
        assert await tx.audit.entries(3, 10) == ()


async def test_a_transaction_that_fails_leaves_no_entry_and_no_gap(store: Store) -> None:
    """An entry is there exactly if its change is; the next one has the number that was not used."""
    with pytest.raises(RolledBack):
        async with store.write() as tx:
            await tx.devices.save(device())
            await append(tx, "never")
            raise RolledBack
    assert await whole(store) == []
    async with store.write() as tx:
        assert await tx.devices.get(BOX) is None
        assert (await append(tx, "a")).number == 1
        assert (await append(tx, "b")).number == 2
    assert await whole(store) == ["a", "b"]


async def test_appended_at_once_it_is_one_chain(store: Store) -> None:
    """One after the other, whoever began first, while some fail."""

    async def change(number: int) -> None:
        async with store.write() as tx:
            await tx.devices.save(device(f"box-{number}"))
            await append(tx, str(number))
            if number % 4 == 0:
                raise RolledBack

    ends = await asyncio.gather(*(change(number) for number in range(MANY)), return_exceptions=True)
    assert {type(end) for end in ends} == {RolledBack, type(None)}
    assert sorted(await whole(store), key=int) == [str(number) for number in range(MANY) if number % 4]


# One store for all examples: each rolls back what it did.
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records.deeds, records.callers, records.times)
async def test_an_entry_comes_back(store: Store, done: Deed, caller: Caller, at: datetime) -> None:
    """Whole: its digest still fits, whatever zone its time was told in."""
    with pytest.raises(RolledBack):
        async with store.write() as tx:
            entry = await tx.audit.append(done, caller, at)
            (found,) = await tx.audit.entries(0, 1)
            assert found == entry
            assert broken(found, START) == ""
            raise RolledBack
