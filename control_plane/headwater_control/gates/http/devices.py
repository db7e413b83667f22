"""/v1/devices: the fleet."""

from fastapi import APIRouter
from headwater_wire.ids import DeviceId

from headwater_control.gates.http import schemas
from headwater_control.gates.http.needs import VIEWER
from headwater_control.gates.http.within import InWorld, WithLabels
from headwater_control.service import devices

router = APIRouter(prefix="/v1/devices", tags=["devices"])


@router.get("", dependencies=VIEWER)
async def list_all(world: InWorld, labels: WithLabels) -> list[schemas.Device]:
    """List the devices that have all of the labels, by id."""
    return [schemas.Device.model_validate(device) for device in await devices.list_devices(world, labels)]


@router.get("/{device}", dependencies=VIEWER)
async def show(world: InWorld, device: schemas.Name) -> schemas.DeviceDetail:
    """Show one, and why it is not training."""
    return schemas.DeviceDetail.model_validate(await devices.show_device(world, DeviceId(device)))
