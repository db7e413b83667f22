"""/v1/rollouts: versions on their way to the boxes."""

from fastapi import APIRouter
from headwater_wire.ids import RolloutId, VersionId

from headwater_control.gates.http import schemas
from headwater_control.gates.http.needs import APPROVER, VIEWER
from headwater_control.gates.http.within import InWorld
from headwater_control.service import rollouts

router = APIRouter(prefix="/v1/rollouts", tags=["rollouts"])


@router.post("", status_code=201, dependencies=APPROVER)
async def start(world: InWorld, request: schemas.RolloutStart) -> schemas.Rollout:
    """Send a version to devices."""
    labels = tuple(sorted(request.labels.items()))
    return schemas.Rollout.model_validate(await rollouts.start(world, VersionId(request.version), labels))


@router.get("", dependencies=VIEWER)
async def list_all(world: InWorld, model: schemas.Name | None = None) -> list[schemas.Rollout]:
    """List them, oldest first."""
    found = await rollouts.list_rollouts(world)
    return [schemas.Rollout.model_validate(rollout) for rollout in found if model in (None, rollout.model)]


@router.get("/{rollout}", dependencies=VIEWER)
async def show(world: InWorld, rollout: schemas.Name) -> schemas.RolloutDetail:
    """Show one, with each device's install."""
    return schemas.RolloutDetail.model_validate(await rollouts.show(world, RolloutId(rollout)))


@router.post("/{rollout}/cancel", dependencies=APPROVER)
async def cancel(world: InWorld, rollout: schemas.Name) -> schemas.Rollout:
    """Stop what has not been installed yet."""
    return schemas.Rollout.model_validate(await rollouts.cancel(world, RolloutId(rollout)))
