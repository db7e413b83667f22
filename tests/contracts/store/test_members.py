"""What every store promises of invitations, standings and certificates."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from headwater_control.core.identity import Barred, Certificate, Invite, Member, Standing
from headwater_control.ports import AlreadyExists, Store
from headwater_wire.ids import DeviceId

from tests.support.rows import BOX, NOW, later

LABELS = (("line", "a"), ("site", "north"))
OTHER = DeviceId("box-2")
SERIAL = "7f" * 20  # 160 bits: more than any integer column


def invite(number: int = 1, at: datetime = NOW) -> Invite:
    """Make one."""
    return Invite(f"invite-{number}", f"{number:064d}", at, "token:boss", later(3600), BOX, LABELS, 3, 1)


def certificate(serial: str, device: DeviceId = BOX, at: datetime = NOW, ends: datetime | None = None) -> Certificate:
    """Make one."""
    return Certificate(serial, device, "cd" * 32, at, ends or later(90 * 86_400), "invite-1")


async def test_an_invitation_comes_back_by_its_hash(store: Store) -> None:
    """Whole, with its times in UTC, locked or not; of another hash there is none."""
    elsewhere = datetime(2026, 3, 1, 12, 30, 0, 250_000, timezone(timedelta(hours=-5)))
    one = replace(invite(), expires_at=elsewhere)
    async with store.write() as tx:
        await tx.invites.save(one)
        assert await tx.invites.find(one.hash, lock=True) == one
    async with store.read() as tx:
        assert await tx.invites.find(one.hash) == one
        assert await tx.invites.find("0" * 64) is None


async def test_an_invitation_is_replaced_and_the_newest_is_listed_first(store: Store) -> None:
    """Saved again it is the same one, used more often; of one moment the higher id comes first."""
    async with store.write() as tx:
        for one in (invite(1), invite(3, later(5)), invite(2)):
            await tx.invites.save(one)
        await tx.invites.save(replace(invite(1), used=2))
    async with store.read() as tx:
        assert await tx.invites.all() == (invite(3, later(5)), invite(2), replace(invite(1), used=2))


async def test_an_invitation_is_read_by_its_id(store: Store) -> None:
    """Locked or not, with when it ended; of another id there is none."""
    one = replace(invite(), ended_at=later(7))
    async with store.write() as tx:
        await tx.invites.save(one)
        assert await tx.invites.get(one.id, lock=True) == one
    async with store.read() as tx:
        assert await tx.invites.get(one.id) == one
        assert await tx.invites.get("invite-9") is None


async def test_ended_invitations_are_forgotten_a_few_at_a_time(store: Store) -> None:
    """By when they ended, before their time or by it, the earliest first; those of the very moment stay."""
    by_time = [replace(invite(number), expires_at=later(number)) for number in (1, 2, 5)]
    earlier = [replace(invite(number), expires_at=later(99), ended_at=later(number)) for number in (3, 4, 6)]
    async with store.write() as tx:
        for one in (*earlier, *by_time):
            await tx.invites.save(one)
    left = []
    for _ in range(3):
        async with store.write() as tx:
            gone = await tx.invites.forget(later(5), 3)
            left.append((gone, [one.id for one in await tx.invites.all()]))
    assert left == [
        (3, ["invite-6", "invite-5", "invite-4"]),
        (1, ["invite-6", "invite-5"]),
        (0, ["invite-6", "invite-5"]),
    ]


async def test_of_concurrent_uses_each_counts(store: Store) -> None:
    """Whoever finds an invitation to use it, locks it: ten at once count ten."""
    async with store.write() as tx:
        await tx.invites.save(replace(invite(), used=0, uses=100))

    async def use() -> None:
        async with store.write() as tx:
            found = await tx.invites.find(invite().hash, lock=True)
            assert found is not None
            await asyncio.sleep(0)
            await tx.invites.save(replace(found, used=found.used + 1))

    await asyncio.gather(*(use() for _ in range(10)))
    async with store.read() as tx:
        assert [one.used for one in await tx.invites.all()] == [10]


async def test_a_standing_comes_back_and_is_replaced(store: Store) -> None:
    """Whole; a device that was never enrolled has none, nor need it be registered."""
    shut_out = Standing(BOX, NOW, LABELS, later(5), "stolen ☠ from the shed")
    async with store.write() as tx:
        await tx.members.save(Standing(BOX, NOW))
        assert await tx.members.standing(BOX, lock=True) == Standing(BOX, NOW)
        await tx.members.save(shut_out)
    async with store.read() as tx:
        assert await tx.members.standing(BOX) == shut_out
        assert await tx.members.standing(OTHER) is None


async def test_a_devices_certificates_are_listed_newest_first(store: Store) -> None:
    """Whole, and no other device's; of one moment by serial."""
    old, new, same = certificate("b", at=NOW), certificate(SERIAL, at=later(9)), certificate("a", at=NOW)
    async with store.write() as tx:
        for one in (old, new, same, certificate("c", OTHER)):
            await tx.members.certify(one)
    async with store.read() as tx:
        assert await tx.members.certificates(BOX) == (new, same, old)
        assert await tx.members.certificates(DeviceId("nobody")) == ()


async def test_a_serial_is_given_once(store: Store) -> None:
    """To whichever device; the transaction goes on without the second."""
    async with store.write() as tx:
        await tx.members.certify(certificate("a"))
        with pytest.raises(AlreadyExists):
            await tx.members.certify(certificate("a", OTHER))
        await tx.members.certify(certificate("b"))
    async with store.read() as tx:
        assert {one.serial for one in await tx.members.certificates(BOX)} == {"a", "b"}
        assert await tx.members.certificates(OTHER) == ()


async def test_all_certificates_of_a_device_are_revoked_once(store: Store) -> None:
    """The first time stays; later ones and other devices' are untouched."""
    async with store.write() as tx:
        await tx.members.certify(certificate("a"))
        await tx.members.certify(certificate("b", OTHER))
        await tx.members.revoke(BOX, later(1))
        await tx.members.certify(certificate("c"))
        await tx.members.revoke(BOX, later(2))
        await tx.members.certify(certificate("d"))
        await tx.members.revoke(DeviceId("nobody"), later(3))
    async with store.read() as tx:
        revoked = {one.serial: one.revoked_at for one in await tx.members.certificates(BOX)}
        assert revoked == {"a": later(1), "c": later(2), "d": None}
        assert await tx.members.certificates(OTHER) == (certificate("b", OTHER),)


async def test_the_barred_are_disabled_devices_and_revoked_certificates(store: Store) -> None:
    """With whose each serial is; a certificate that ended before the given time counts no longer."""
    async with store.read() as tx:
        assert await tx.members.barred(NOW) == (Barred(), {})
    async with store.write() as tx:
        await tx.members.save(Standing(BOX, NOW))
        await tx.members.save(Standing(OTHER, NOW, disabled_at=later(1)))
        await tx.members.certify(certificate("gone", ends=later(9)))
        await tx.members.certify(certificate("just", ends=later(10)))
        await tx.members.certify(certificate("good", OTHER))
        await tx.members.revoke(BOX, later(1))
    async with store.read() as tx:
        barred, owners = await tx.members.barred(later(10))
    assert barred == Barred(frozenset({OTHER}), frozenset({"just"}))
    assert owners == {"just": BOX}


async def test_every_enrolled_device_is_listed_with_the_end_of_its_good_certificates(store: Store) -> None:
    """By id; revoked ones don't count, and whose certificates are gone has no end."""
    standings = [Standing(DeviceId(name), NOW, LABELS) for name in ("c", "a", "B")]
    async with store.write() as tx:
        for standing in standings:
            await tx.members.save(standing)
        await tx.members.certify(certificate("1", DeviceId("a"), ends=later(9)))
        await tx.members.certify(certificate("2", DeviceId("a"), ends=later(8)))
        await tx.members.certify(certificate("3", DeviceId("c"), ends=later(99)))
        await tx.members.revoke(DeviceId("c"), NOW)
    async with store.read() as tx:
        third, first, capital = standings
        assert await tx.members.all() == (Member(capital), Member(first, later(9)), Member(third))


async def test_what_was_rolled_back_was_never_there(store: Store) -> None:
    """Neither invitation nor standing nor certificate; and reading transactions write nothing."""
    with pytest.raises(ZeroDivisionError):
        async with store.write() as tx:
            await tx.invites.save(invite())
            await tx.members.save(Standing(BOX, NOW))
            await tx.members.certify(certificate("a"))
            raise ZeroDivisionError
    async with store.read() as tx:
        assert await tx.invites.all() == ()
        assert await tx.members.standing(BOX) is None
        assert await tx.members.certificates(BOX) == ()
        with pytest.raises(RuntimeError):
            await tx.members.save(Standing(BOX, NOW))
