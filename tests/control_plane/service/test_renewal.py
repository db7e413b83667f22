"""How a box gets a new certificate in time, or late: by its key, while it still counts."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_control.core.identity import GRACE, Standing
from headwater_control.service import enrolment, standing
from headwater_control.service.errors import Forbidden, ServiceError
from headwater_control.service.world import World
from headwater_wire import signing
from headwater_wire.errors import WireError

from tests.control_plane.service.enrolling import BOX, HOUR, clock, invited, known
from tests.fakes.stranger import Stranger
from tests.fakes.world import fake_world
from tests.support.requests import new_key, request


@pytest.mark.parametrize("days", [0, 45, 89, 91, 90 + 364])
async def test_a_certificate_is_renewed_by_its_key(world: World, days: int) -> None:
    """At any age until a year after its end; the new one is for the same device and key, the old one stays good."""
    box = Stranger(world)
    first = await box.enroll(await invited(world))
    await clock(world).advance(days * 86_400.0)
    second = (await box.renew()).record
    assert (second.device, second.key, second.invite) == (BOX, first.record.key, "")
    assert second.ends == clock(world).now() + timedelta(days=90)
    found = (await known(world))[1]
    assert {one.serial for one in found} == {first.record.serial, second.serial}
    assert {one.revoked_at for one in found} == {None}


async def test_after_the_grace_a_box_enrols_anew(world: World) -> None:
    """The refusal says so."""
    box = Stranger(world)
    await box.enroll(await invited(world))
    await clock(world).advance((timedelta(days=90, seconds=1) + GRACE).total_seconds())
    with pytest.raises(Forbidden, match="enrol this box again, with a new invitation"):
        await box.renew()


async def test_a_disabled_box_is_not_renewed_until_it_is_enabled(world: World) -> None:
    """And is told why."""
    box = Stranger(world)
    await box.enroll(await invited(world))
    await standing.disable(world, BOX, "stolen")
    with pytest.raises(Forbidden, match="box-1 is disabled: stolen"):
        await box.renew()
    await standing.enable(world, BOX)
    await box.renew()


async def test_a_renewal_takes_the_key_a_fresh_nonce_of_ours_and_a_certificate_of_ours(
    world: World, tmp_path: Path
) -> None:
    """Each of them wrong alone is refused, and nothing is issued."""
    box = Stranger(world)
    await box.enroll(await invited(world))
    good = box.renewal()
    foreign = Stranger(fake_world(tmp_path / "other"))
    await foreign.enroll((await enrolment.invite(foreign.world, ttl=HOUR))[1])
    for bad in (
        box.renewal(b""),
        box.renewal(foreign.world.nonces.new(clock(world).now())),
        replace(good, signature=b""),
        replace(good, nonce=world.nonces.new(clock(world).now())),
        replace(good, csr=request()),
        replace(Stranger(world).renewal(), chain=box.chain),
        replace(good, chain=foreign.chain),
        foreign.renewal(world.nonces.new(clock(world).now())),
        replace(good, chain=b"rust"),
    ):
        with pytest.raises((ServiceError, WireError)):
            enrolment.prove(world, bad)
    await clock(world).advance(60)
    with pytest.raises(Forbidden, match="too old"):
        enrolment.prove(world, good)
    assert len((await known(world))[1]) == 1


async def test_a_key_cannot_be_changed_by_a_renewal(world: World) -> None:
    """A request for another key is refused though the certificate's key has signed it."""
    box = Stranger(world)
    await box.enroll(await invited(world))
    nonce, csr = world.nonces.new(clock(world).now()), request(new_key())
    signature = box.key.sign(signing.renewal(nonce, csr), ec.ECDSA(hashes.SHA256()))
    with pytest.raises(Forbidden, match="same key"):
        enrolment.prove(world, enrolment.Renewal(box.chain, csr, nonce, signature))


async def test_a_box_enrolled_after_the_backup_that_was_restored_is_renewed(world: World, tmp_path: Path) -> None:
    """The database does not know it, the authority does: from then on it has a standing."""
    box = Stranger(world)
    await box.enroll(await invited(world))
    restored = fake_world(tmp_path / "restored")
    box.world = replace(restored, issuer=world.issuer)
    issued = await box.renew()
    assert await known(box.world) == (Standing(BOX, clock(box.world).now()), (issued.record,))
