"""The next signing key: made, audited, and every device called to hear of it, whatever happens in the middle."""

import json
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from headwater_control.core.authority import Principal, Role
from headwater_control.core.keys import OVERLAP
from headwater_control.edges.keyring import Keyring
from headwater_control.ports import Busy, Ring
from headwater_control.service import audit, keys
from headwater_control.service.authority import acting
from headwater_control.service.errors import Forbidden
from headwater_control.service.world import World

from tests.fakes.memory_store import MemoryStore
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import Box, fake_world

SECOND = timedelta(seconds=1)


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


async def named(world: World) -> list[str]:
    """List the keys that the audit log tells of."""
    return [one.subject for one in await audit.list_entries(world, None, 100) if one.action == "keys.rotate"]


def restarted(world: World, folder: Path) -> World:
    """Start again on the same folder and database."""
    return replace(world, keyring=Keyring(folder / "keys", world.clock.now()))


async def test_a_death_before_it_is_written_down_ends_in_a_key_that_is(tmp_path: Path) -> None:
    """Until then the key is accepted and never signs; the next start names and settles it, a week before it signs."""
    world = fake_world(tmp_path)
    now = world.clock.now()
    old = world.keyring.signer(now).id
    made = world.keyring.prepare()
    again = restarted(world, tmp_path)
    late = again.keyring.signer(now + 9 * OVERLAP)
    assert (late.id, len(late.accepted), await named(again)) == (old, 2, [])
    await keys.finish(again)
    await keys.finish(again)
    assert (again.keyring.prepared, await named(again)) == ("", [made])
    for ring in (again.keyring, restarted(world, tmp_path).keyring):
        assert ring.signer(now + OVERLAP - SECOND).id == old
        assert ring.signer(now + OVERLAP + SECOND).id == made


class Mortal(Keyring):
    """Dies before it settles a key."""

    def settle(self, key: str, now: datetime) -> None:
        """Do not get so far."""
        raise SystemError("killed")


async def test_a_death_after_it_was_written_down_loses_no_key_that_the_log_names(tmp_path: Path) -> None:
    """The next start settles that very key, and names it once more; no other is made."""
    world = fake_world(tmp_path)
    mortal = replace(world, keyring=Mortal(tmp_path / "keys", world.clock.now()))
    with pytest.raises(SystemError):
        await keys.rotate(mortal)
    (made,) = await named(world)
    again = restarted(world, tmp_path)
    await keys.finish(again)
    assert await named(again) == [made, made]
    assert again.keyring.signer(world.clock.now() + OVERLAP + SECOND).id == made
    assert len(list((tmp_path / "keys").iterdir())) == 2


async def test_a_rotation_that_could_not_be_written_down_is_taken_up_by_the_next(tmp_path: Path) -> None:
    """A busy database leaves a prepared key, and no file for each attempt."""
    store = MemoryStore(wait_s=0.01)
    world = fake_world(tmp_path, store=store)
    async with store.write():
        for _ in range(3):
            with pytest.raises(Busy):
                await keys.rotate(world)
    prepared = world.keyring.prepared
    assert await named(world) == []
    assert await keys.rotate(world) == prepared
    assert await named(world) == [prepared]
    assert await keys.rotate(world) != prepared


async def test_the_disk_is_not_waited_for_on_the_event_loop(tmp_path: Path) -> None:
    """Both steps run in other threads."""
    threads = []

    class Watched(Keyring):
        def prepare(self) -> str:
            threads.append(threading.get_ident())
            return super().prepare()

        def settle(self, key: str, now: datetime) -> None:
            threads.append(threading.get_ident())
            super().settle(key, now)

    world = fake_world(tmp_path)
    keyring = Watched(tmp_path / "keys", world.clock.now())
    await keys.rotate(replace(world, keyring=keyring))
    assert len(threads) == 2
    assert threading.get_ident() not in threads
