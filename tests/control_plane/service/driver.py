"""Steps a run by hand: plan and apply until there is nothing to do, as the coordinator would between two waits."""

from datetime import timedelta

from headwater_control.core.rounds import Decision, plan
from headwater_control.service.rounds import Lead, apply
from headwater_control.service.snapshots import load_manifest, load_snapshot
from headwater_control.service.spent import forget
from headwater_control.service.world import World
from headwater_wire.ids import RunId

from tests.fakes.clock import START

_LONG_AGO = START - timedelta(days=1)
_PASSES = 12  # ask, close, merge and the next ask are four: more is a decision that changes nothing, for ever


async def step(world: World, run: RunId, holder: str = "driver") -> list[tuple[Lead, Decision]]:
    """Do what there is to do, and give what was decided; fail if it does not end."""
    done: list[tuple[Lead, Decision]] = []
    async with world.store.write() as tx:
        token = await tx.runs.lead(run, holder, world.clock.now(), 60.0)
    assert token is not None
    manifest = await load_manifest(world, run)
    for _ in range(_PASSES):
        async with world.store.read() as tx:
            view = await load_snapshot(world, tx, run, manifest, _LONG_AGO)
        decisions = plan(view, world.clock.now())
        if not decisions:
            return done
        for decision in decisions:
            done.append((Lead(run, view.run.round, token), decision))
            await forget(world, await apply(world, *done[-1]))
    raise AssertionError(f"the plan never rests: {decisions}")
