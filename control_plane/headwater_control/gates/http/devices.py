"""/v1/devices: the fleet."""

from dataclasses import fields

from fastapi import APIRouter
from headwater_wire.ids import DeviceId

from headwater_control.gates.http import schemas
from headwater_control.gates.http.needs import VIEWER
from headwater_control.gates.http.within import InWorld, WithLabels
from headwater_control.service import devices
from headwater_control.service.devices import DeviceView, Listed

router = APIRouter(prefix="/v1/devices", tags=["devices"])


@router.get("", dependencies=VIEWER)
async def list_all(world: InWorld, labels: WithLabels) -> list[schemas.Device]:
    """List the devices that have all of the labels, by id; also those that were enrolled and never registered."""
    return [_device(found) for found in await devices.list_devices(world, labels)]


@router.get("/{device}", dependencies=VIEWER)
async def show(world: InWorld, device: schemas.Name) -> schemas.DeviceDetail:
    """Show one, and why it is not training."""
    return _detail(await devices.show_device(world, DeviceId(device)))


def _device(found: Listed | DeviceView) -> schemas.Device:
    """Tell a device as it is listed."""
    known = {field.name: getattr(found.device, field.name) for field in fields(found.device)}
    known |= {"state": found.state} if found.registered else {"state": found.state, "registered_at": None}
    return schemas.Device.model_validate(known)


def _detail(view: DeviceView) -> schemas.DeviceDetail:
    """Tell all about one."""
    return schemas.DeviceDetail(
        device=_device(view),
        tasks=[schemas.Task.model_validate(task) for task in view.tasks],
        deployments=[schemas.Deployment.model_validate(deployment) for deployment in view.deployments],
        not_training=list(view.why_not_training),
        certificate_ends=view.certificate_ends,
        disabled_at=view.disabled_at,
        disabled_reason=view.disabled_reason,
    )
