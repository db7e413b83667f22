"""Held bytes are not deleted, and bytes that are being deleted can't be held yet."""

import asyncio

from headwater_control.service.holds import Holds
from headwater_wire.ids import Digest

from tests.fakes.clock import settle

A, B = Digest("a" * 64), Digest("b" * 64)


async def test_what_is_held_is_not_deleted() -> None:
    """Held twice, it is spared until both have let go."""
    holds = Holds()
    async with holds.hold(A):
        async with holds.hold(A), holds.deleting({A, B}) as mine:
            assert mine == {B}
        async with holds.deleting({A, B}) as mine:
            assert mine == {B}
    async with holds.deleting({A, B}) as mine:
        assert mine == {A, B}


async def test_who_would_hold_waits_for_the_deletion() -> None:
    """Then the bytes are gone for sure, and are stored anew."""
    holds = Holds()

    async def hold() -> None:
        async with holds.hold(A):
            pass

    async with holds.deleting({A}):
        holding = asyncio.create_task(hold())
        await settle()
        assert not holding.done()
        async with holds.deleting({A}) as mine:
            assert mine == frozenset()
        await settle()
        assert not holding.done()
    await asyncio.wait_for(holding, 5)
