"""Which certificates are worth nothing: for a broker that knows certificates, and not whose they are."""

from datetime import datetime, timedelta

from headwater_wire.ids import DeviceId

from headwater_control.ports import Store

_ENDED_AGO = timedelta(days=2)  # a broker whose clock is slow still believes one that ended just now


async def worthless(store: Store, now: datetime) -> dict[str, DeviceId]:
    """Give the serials (hex) of all revoked certificates and of all that shut-out devices have, and whose they are.

    Those that ended are left out, since nobody lets them in anyway.
    """
    since = now - _ENDED_AGO
    async with store.read() as tx:
        barred, owners = await tx.members.barred(since)
        found = dict(owners)
        for device in sorted(barred.devices):
            certificates = await tx.members.certificates(device)
            found.update({one.serial: device for one in certificates if one.ends >= since})
    return found
