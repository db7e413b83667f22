"""What every store promises of the fleet."""

import asyncio
from dataclasses import replace

from headwater_control.core.fleet import Beat
from headwater_control.ports import Store
from headwater_wire.ids import DeviceId

from tests.support.rows import BOX, device, later


async def test_a_saved_device_is_read_back_and_replaced(store: Store) -> None:
    """What is saved last is what is read, by anybody, later."""
    async with store.write() as tx:
        await tx.devices.save(device(revision=3))
        assert await tx.devices.get(BOX) == device(revision=3)
    async with store.write() as tx:
        await tx.devices.save(device(revision=4, labels=(("site", "north"),)))
    async with store.read() as tx:
        assert await tx.devices.get(BOX) == device(revision=4, labels=(("site", "north"),))
        assert await tx.devices.get(DeviceId("other")) is None


async def test_several_devices_are_read_at_once(store: Store) -> None:
    """Those that are not there are left out, and repetition changes nothing."""
    async with store.write() as tx:
        for name in ("a", "b", "c"):
            await tx.devices.save(device(name))
    async with store.read() as tx:
        found = await tx.devices.several([DeviceId(name) for name in ("c", "a", "nobody", "a")])
        assert found == {"a": device("a"), "c": device("c")}
        assert await tx.devices.several([]) == {}


async def test_several_devices_are_locked_at_once(store: Store) -> None:
    """They are read as they are then, and nobody else changes them until the transaction ends."""
    names = [DeviceId(name) for name in ("b", "a", "nobody", "a")]
    async with store.write() as tx:
        for name in ("a", "b", "c"):
            await tx.devices.save(device(name))

    async def count_one_more() -> None:
        async with store.write() as tx:
            found = await tx.devices.several(names, lock=True)
            assert list(found) == ["a", "b"]
            await asyncio.sleep(0)
            for known in found.values():
                await tx.devices.save(replace(known, revision=known.revision + 1))

    await asyncio.gather(*(count_one_more() for _ in range(8)))
    async with store.read() as tx:
        assert [found.revision for found in await tx.devices.matching()] == [8, 8, 0]


async def test_devices_match_by_all_labels_in_order_of_id(store: Store) -> None:
    """Every label must be there with its value; ids sort by bytes, as everywhere else."""
    both, one = (("gpu", "yes"), ("site", "north")), (("site", "north"),)
    async with store.write() as tx:
        for name, labels in (("b", both), ("a-1", one), ("a1", ()), ("B", both), ("a.b-c", (("si.te", "x-1"),))):
            await tx.devices.save(device(name, labels))
    async with store.read() as tx:
        names = [found.id for found in await tx.devices.matching()]
        assert names == ["B", "a-1", "a.b-c", "a1", "b"]
        assert [found.id for found in await tx.devices.matching(one)] == ["B", "a-1", "b"]
        assert [found.id for found in await tx.devices.matching(both)] == ["B", "b"]
        assert [found.id for found in await tx.devices.matching((("si.te", "x-1"),))] == ["a.b-c"]
        assert await tx.devices.matching((("site", "south"),)) == ()


async def test_a_changed_label_no_longer_matches(store: Store) -> None:
    """Matching follows the labels saved last."""
    async with store.write() as tx:
        await tx.devices.save(device(labels=(("site", "north"),)))
        await tx.devices.save(device(labels=(("site", "south"),)))
        assert await tx.devices.matching((("site", "north"),)) == ()
        assert len(await tx.devices.matching((("site", "south"),))) == 1


async def test_a_beat_shows_a_device_alive(store: Store) -> None:
    """last_seen and the revision held follow the beat, and an offline device is online since then."""
    async with store.write() as tx:
        await tx.devices.save(device(epoch=2, seq=5, revision=9))
        await tx.devices.touch([Beat(BOX, 2, 8, later(10)), Beat(DeviceId("nobody"), 1, 1, later(10))])
    expected = device(epoch=2, seq=5, revision=9, held_revision=8, online=True, presence_at=later(10))
    async with store.write() as tx:
        assert await tx.devices.get(BOX) == replace(expected, last_seen=later(10))
        await tx.devices.touch([Beat(BOX, 2, 9, later(20))])
        assert await tx.devices.get(BOX) == replace(expected, last_seen=later(20), held_revision=9)
        assert await tx.devices.matching() == (replace(expected, last_seen=later(20), held_revision=9),)


async def test_a_beat_of_a_newer_epoch_begins_its_presence_anew(store: Store) -> None:
    """The highest epoch counts, and its seq counts from 0: else the new life's birth would look old."""
    async with store.write() as tx:
        await tx.devices.save(device(epoch=2, seq=50, online=True, presence_at=later(1)))
        await tx.devices.touch([Beat(BOX, 3, 0, later(10))])
        assert await tx.devices.get(BOX) == device(
            epoch=3, seq=0, online=True, presence_at=later(1), last_seen=later(10)
        )


async def test_a_beat_of_an_older_epoch_puts_nobody_online(store: Store) -> None:
    """A late beat of a past life is a sign of life, and no more."""
    async with store.write() as tx:
        await tx.devices.save(device(epoch=2, seq=5, last_seen=later(60)))
        await tx.devices.touch([Beat(BOX, 1, 4, later(10))])
        assert await tx.devices.get(BOX) == device(epoch=2, seq=5, held_revision=4, last_seen=later(60))


async def test_a_beat_heard_before_a_goodbye_and_written_after_it_puts_nobody_online(store: Store) -> None:
    """Heartbeats are written in batches, a moment after they came; one that came after the goodbye counts."""
    gone = device(epoch=2, seq=2, online=False, presence_at=later(10), last_seen=later(9))
    async with store.write() as tx:
        await tx.devices.save(gone)
        await tx.devices.touch([Beat(BOX, 2, 0, later(9))])
        assert await tx.devices.get(BOX) == gone
        await tx.devices.touch([Beat(BOX, 2, 0, later(11))])
        assert await tx.devices.get(BOX) == replace(gone, online=True, presence_at=later(11), last_seen=later(11))


async def test_of_many_beats_of_one_device_each_counts(store: Store) -> None:
    """A batch has the effect of its beats one after the other."""
    async with store.write() as tx:
        await tx.devices.save(device())
        await tx.devices.touch([Beat(BOX, 1, 1, later(10)), Beat(BOX, 4, 2, later(20)), Beat(BOX, 3, 7, later(15))])
        found = await tx.devices.get(BOX)
        assert found == device(epoch=4, held_revision=7, online=True, presence_at=later(10), last_seen=later(20))
        await tx.devices.touch([])


async def test_a_beat_beyond_every_limit_spoils_no_other(store: Store) -> None:
    """One device's absurd epoch (the wire carries 64 bits without sign) must not lose the beats of the rest."""
    async with store.write() as tx:
        await tx.devices.save(device("bad"))
        await tx.devices.save(device("good"))
        await tx.devices.touch(
            [Beat(DeviceId("bad"), 2**64 - 1, 2**64 - 1, later(1)), Beat(DeviceId("good"), 1, 1, later(1))]
        )
    async with store.read() as tx:
        assert [found.online for found in await tx.devices.matching()] == [True, True]


async def test_revisions_rise_by_one_for_each_device(store: Store) -> None:
    """However often a device is named, its revision rises once; who is not there is left out."""
    names = [DeviceId(f"box-{number:04d}") for number in range(2_500)]
    async with store.write() as tx:
        for name in ("box-0000", "box-0001", "box-2499"):
            await tx.devices.save(device(name, revision=7))
        assert await tx.devices.raise_revision([*names, *names]) == {"box-0000": 8, "box-0001": 8, "box-2499": 8}
        assert await tx.devices.raise_revision([DeviceId("box-0001")]) == {"box-0001": 9}
        assert await tx.devices.raise_revision([]) == {}


async def test_concurrent_writers_lose_no_revision(store: Store) -> None:
    """Twenty transactions at once raise a revision by twenty, and no two see the same one."""
    async with store.write() as tx:
        await tx.devices.save(device("a"))
        await tx.devices.save(device("b"))

    async def raise_both(turn: int) -> int:
        async with store.write() as tx:
            both = await tx.devices.raise_revision([DeviceId(name) for name in ("ab", "ba")[turn % 2]])
            return both[DeviceId("a")]

    raised = await asyncio.gather(*(raise_both(turn) for turn in range(20)))
    assert sorted(raised) == list(range(1, 21))


async def test_a_locked_device_is_nobody_elses(store: Store) -> None:
    """Twenty transactions that read with a lock, then write what they read plus one, lose no update."""
    async with store.write() as tx:
        await tx.devices.save(device())

    async def count() -> None:
        async with store.write() as tx:
            found = await tx.devices.get(BOX, lock=True)
            assert found is not None
            await asyncio.sleep(0)
            await tx.devices.save(replace(found, seq=found.seq + 1))

    await asyncio.gather(*(count() for _ in range(20)))
    async with store.read() as tx:
        assert await tx.devices.get(BOX) == device(seq=20)


async def test_batches_in_any_order_do_not_wait_for_each_other(store: Store) -> None:
    """Beats and revisions of the same devices, however each batch and the table are ordered, never deadlock."""
    names = [DeviceId(f"box-{number:03d}") for number in range(200)]
    async with store.write() as tx:
        for name in reversed(names):
            await tx.devices.save(device(name))

    async def beat(turn: int) -> None:
        async with store.write() as tx:
            await tx.devices.touch([Beat(name, 1, turn, later(turn)) for name in names[:: 1 if turn % 2 else -1]])

    async def change() -> None:
        async with store.write() as tx:
            await tx.devices.raise_revision(names)

    await asyncio.gather(*(each for turn in range(8) for each in (beat(turn), change())))
    async with store.read() as tx:
        found = await tx.devices.matching()
        assert {(each.last_seen, each.revision) for each in found} == {(later(7), 8)}
