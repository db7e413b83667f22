"""The use cases behind uploads and fetches: a delta in, exactly once; blobs out to those who need them."""

from headwater_wire.ids import DeviceId, Digest
from headwater_wire.messages import Offer, Receipt

from headwater_control.ports import Staging
from headwater_control.service.world import World


async def offer(world: World, offer: Offer) -> Receipt | None:
    """Say what becomes of an offered delta: a final receipt, or None: send it."""
    raise NotImplementedError


async def commit(world: World, offer: Offer, staging: Staging) -> Receipt:
    """Check a delta that has arrived whole, make it durable, then its row: the receipt says what came of it.

    Raises `DigestMismatch` or `LengthMismatch` if the bytes are not the announced ones: send them again.
    """
    raise NotImplementedError


async def may_fetch(world: World, device: DeviceId, digest: Digest) -> None:
    """Raise `NotFound` unless an open task or a deployment of this device needs the blob."""
    raise NotImplementedError


async def fetched(world: World, device: DeviceId, digest: Digest, size: int) -> None:
    """Count bytes sent to a device for the open task that needs the blob, if one does."""
    raise NotImplementedError
