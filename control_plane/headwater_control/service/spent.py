"""Deletes deltas that nobody needs any more."""

from headwater_wire.ids import Digest

from headwater_control.service.world import World


async def forget(world: World, digests: frozenset[Digest]) -> None:
    """Delete deltas that are merged, given up or too late, unless a row or an upload under way needs the same bytes."""
    if not digests:
        return
    async with world.holds.deleting(digests) as mine:
        async with world.store.read() as tx:
            live = await tx.live_blobs(mine)
        for digest in sorted(mine - live):
            await world.blobs.delete(digest)
