"""The use case behind Gateway.Sync: the agent says what it holds; the answer is what it should hold."""

from headwater_wire.messages import SyncAnswer, SyncRequest

from headwater_control.service.world import World


async def sync(world: World, request: SyncRequest) -> SyncAnswer:
    """Apply the reports, commit, answer. May be repeated: what was reported before changes nothing."""
    raise NotImplementedError
