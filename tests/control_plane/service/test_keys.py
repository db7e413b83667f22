"""The next signing key: made, audited, and every device called to hear of it."""

import json

import pytest
from headwater_control.core.authority import Principal, Role
from headwater_control.ports import Ring
from headwater_control.service import audit, keys
from headwater_control.service.authority import acting
from headwater_control.service.errors import Forbidden
from headwater_control.service.world import World

from tests.fakes.publisher import FakePublisher
from tests.fakes.world import Box


async def test_a_rotation_announces_a_key_and_rings_everybody(world: World) -> None:
    """The present one signs on; the audit log has the new one's id."""
    boxes = [await Box(world, f"box-{number}").register() for number in (1, 2)]
    before = world.keyring.signer(world.clock.now())
    made = await keys.rotate(world)
    after = world.keyring.signer(world.clock.now())
    assert (after.id, len(after.accepted)) == (before.id, 2)
    assert made != before.id
    assert isinstance(world.publisher, FakePublisher)
    for box in boxes:
        assert [type(message) for message in world.publisher.to(box.id)] == [Ring]
    entry = (await audit.list_entries(world, None, 100))[-1]
    assert (entry.action, entry.subject, json.loads(entry.after)) == ("keys.rotate", made, {"key": made})


async def test_a_key_is_the_whole_fleets(world: World) -> None:
    """Whoever is limited to a part of it makes none."""
    with acting(Principal("token:north", Role.ADMIN, (("site", "north"),))), pytest.raises(Forbidden, match="fleet"):
        await keys.rotate(world)
    assert len(world.keyring.signer(world.clock.now()).accepted) == 1
