"""Use cases around shipping: send a version to the boxes, and see where it is."""

from dataclasses import dataclass

from headwater_wire.ids import RolloutId, VersionId

from headwater_control.core.rollout import DeploymentRecord, DeploymentState, Rollout
from headwater_control.ports import Labels
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout with its deployments, by device, and how many are in which state (all states, zeros too)."""

    rollout: Rollout
    deployments: tuple[DeploymentRecord, ...]
    counts: tuple[tuple[DeploymentState, int], ...]


async def start(world: World, version: VersionId, labels: Labels = ()) -> Rollout:
    """Send a version to every device with `labels`; raise `NotFound`, or `Invalid` if there is no such device."""
    raise NotImplementedError


async def show(world: World, rollout: RolloutId) -> RolloutView:
    """Show one; raise `NotFound`."""
    raise NotImplementedError


async def list_rollouts(world: World) -> tuple[Rollout, ...]:
    """List them, oldest first."""
    raise NotImplementedError


async def cancel(world: World, rollout: RolloutId) -> Rollout:
    """Stop what has not been installed yet. Raises `NotFound`, or `Conflict` if the rollout has ended otherwise."""
    raise NotImplementedError
