"""Which certificates a broker must refuse, and who hears when that changes."""

from datetime import timedelta

from headwater_control.core.identity import Certificate, Standing
from headwater_control.service.revocation import worthless
from headwater_control.service.roll import Roll
from headwater_wire.ids import DeviceId

from tests.fakes.clock import START
from tests.fakes.memory_store import MemoryStore

ONE, TWO = DeviceId("box-1"), DeviceId("box-2")
LIFE = timedelta(days=90)


async def certify(store: MemoryStore, serial: str, device: DeviceId, ago: timedelta = timedelta()) -> None:
    """Give a device a certificate."""
    issued = START - ago
    async with store.write() as tx:
        await tx.members.certify(Certificate(serial, device, "key", issued, issued + LIFE))


async def stand(store: MemoryStore, device: DeviceId, *, out: bool) -> None:
    """Shut a device out, or let it in."""
    async with store.write() as tx:
        await tx.members.save(Standing(device, START, disabled_at=START if out else None))


async def test_all_certificates_of_a_disabled_device_are_worthless_until_it_is_enabled() -> None:
    """Also those that were renewed meanwhile; another device's are good."""
    store = MemoryStore()
    for serial, device in (("a1", ONE), ("a2", ONE), ("b1", TWO)):
        await certify(store, serial, device)
    await stand(store, ONE, out=True)
    assert await worthless(store, START) == {"a1": ONE, "a2": ONE}
    await stand(store, ONE, out=False)
    assert await worthless(store, START) == {}


async def test_a_revoked_certificate_is_worthless_and_its_successor_is_not() -> None:
    """Its device goes on with the one it got since."""
    store = MemoryStore()
    await certify(store, "a1", ONE)
    async with store.write() as tx:
        await tx.members.revoke(ONE, START)
    await certify(store, "a2", ONE)
    assert await worthless(store, START) == {"a1": ONE}


async def test_what_ended_long_ago_is_left_out() -> None:
    """Else the list would grow for ever; what ended just now stays, for a clock that is slow."""
    store = MemoryStore()
    await certify(store, "old", ONE, ago=LIFE + timedelta(days=3))
    await certify(store, "late", ONE, ago=LIFE + timedelta(days=1))
    await stand(store, ONE, out=True)
    assert await worthless(store, START) == {"late": ONE}


async def test_whoever_keeps_a_list_hears_of_each_change_after_the_cut() -> None:
    """Of a device that is let in again too, and of nothing if all is as before."""
    store, roll = MemoryStore(), Roll()
    heard: list[str] = []
    roll.on_bar(heard.append)
    roll.on_change(lambda: heard.append("changed"))
    await certify(store, "a1", ONE)
    for out in (True, True, False, False):
        await stand(store, ONE, out=out)
        await roll.look(store, START)
    assert heard == [ONE, "changed", "changed"]
