"""What the folder of blobs promises beyond the port: its layout, and what it does about a bad disk or a bad moment."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from headwater_control.edges.blobs import FolderBlobs
from headwater_wire import digests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DATA = bytes(range(256)) * 40


@dataclass
class Clock:
    """The time of this process's life."""

    s: float = 0.0


@pytest.fixture
def clock() -> Clock:
    """Let it stand still."""
    return Clock()


@pytest.fixture
def blobs(tmp_path: Path, clock: Clock) -> FolderBlobs:
    """An empty folder's."""
    return FolderBlobs(tmp_path, lambda: clock.s)


def files(folder: Path) -> list[Path]:
    """All files below."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def test_blobs_are_spread_over_folders(blobs: FolderBlobs, tmp_path: Path) -> None:
    """By the first two digits of the digest; nothing else is left."""
    blob = await blobs.put(DATA)
    assert files(tmp_path) == [tmp_path / "objects" / blob.digest[:2] / blob.digest]


async def test_a_damaged_blob_is_healed_by_storing_it_again(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Whether it is put or adopted: what is there is never trusted more than what has just been hashed."""
    blob = await blobs.put(DATA)
    for adopt in (False, True):
        blobs.path(blob.digest).write_bytes(b"damaged")
        if adopt:
            (tmp_path / "source").write_bytes(DATA)
            await blobs.adopt(tmp_path / "source")
        else:
            await blobs.put(DATA)
        assert blobs.path(blob.digest).read_bytes() == DATA


async def test_every_flipped_bit_and_every_lost_byte_is_found(blobs: FolderBlobs) -> None:
    """Before a merge each of its inputs is read whole: what the disk has done to one is not merged, but named."""
    sound, hurt = await blobs.put(DATA), await blobs.put(DATA[:200])
    place = blobs.path(hurt.digest)
    whole = place.read_bytes()
    assert await blobs.damaged([sound.digest, hurt.digest]) == ()
    harm = [whole[:size] for size in range(len(whole))] + [whole + b"\0"]
    harm += [whole[:n] + bytes([whole[n] ^ 1 << bit]) + whole[n + 1 :] for n in range(len(whole)) for bit in range(8)]
    for data in harm:
        place.write_bytes(data)
        assert await blobs.damaged([sound.digest, hurt.digest]) == (hurt.digest,)
    place.unlink()
    assert await blobs.damaged([sound.digest, hurt.digest]) == (hurt.digest,)


async def test_what_was_stored_again_is_spared(blobs: FolderBlobs, tmp_path: Path, clock: Clock) -> None:
    """By a sweep that would have deleted it, though it was made long ago: its row may not be committed yet."""
    await blobs.put(DATA)
    for adopt in (False, True):
        assert await blobs.sweep(frozenset()) == 0
        clock.s += 3600
        if adopt:
            (tmp_path / "source").write_bytes(DATA)
            await blobs.adopt(tmp_path / "source")
        else:
            await blobs.put(DATA)
        assert await blobs.sweep(frozenset()) == 0
    clock.s += 3600
    assert await blobs.sweep(frozenset()) == len(DATA)


async def test_what_was_needed_meanwhile_is_spared(blobs: FolderBlobs, clock: Clock) -> None:
    """It counts anew from when nobody needed it any more."""
    blob = await blobs.put(DATA)
    for live in (set(), {blob.digest}, set()):
        assert await blobs.sweep(frozenset(live)) == 0
        clock.s += 3600
    assert await blobs.sweep(frozenset()) == len(DATA)


async def test_an_unfinished_upload_that_goes_on_is_spared(blobs: FolderBlobs, clock: Clock) -> None:
    """What has come is kept for as long as somebody comes back for it within the hour."""
    announced = digests.of_bytes(DATA)
    for turn in range(3):
        async with blobs.stage("task", announced) as staging:
            assert staging.offset == turn * 100
            await staging.write(DATA[:100])
        assert await blobs.sweep(frozenset()) == 0
        clock.s += 3600
    assert await blobs.sweep(frozenset()) == 300


async def test_a_clock_that_jumps_deletes_nothing(tmp_path: Path) -> None:
    """A blob whose row is about to be committed is as new as this process knows, whatever the file's time says."""
    blobs = FolderBlobs(tmp_path)
    blob = await blobs.put(DATA)
    os.utime(blobs.path(blob.digest), (0, 0))  # as if the machine's clock had been set forward since
    for _ in range(2):
        assert await blobs.sweep(frozenset()) == 0
    assert await blobs.damaged([blob.digest]) == ()


async def test_the_debris_of_a_crash_is_swept(blobs: FolderBlobs, tmp_path: Path, clock: Clock) -> None:
    """A temporary file that no writer is at any more."""
    blob = await blobs.put(DATA)
    debris = blobs.path(blob.digest).with_name(".hw-tmp-0123456789abcdef")
    debris.write_bytes(b"half")
    assert await blobs.sweep(frozenset({blob.digest})) == 0
    clock.s += 3600
    assert await blobs.sweep(frozenset({blob.digest})) == 4
    assert files(tmp_path) == [blobs.path(blob.digest)]


async def test_a_staged_file_that_is_too_long_begins_afresh(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Whatever made it so, it is no beginning of what was announced."""
    announced = digests.of_bytes(DATA)
    async with blobs.stage("task", announced) as staging:
        await staging.write(DATA)
    (staged,) = files(tmp_path)
    staged.write_bytes(DATA + b"more")
    async with blobs.stage("task", announced) as staging:
        assert staging.offset == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.integers(0, 12), max_size=6))
def test_cancelled_at_any_moment_an_upload_goes_on(blobs: FolderBlobs, turns: list[int]) -> None:
    """A thread that works on after its caller was cancelled can neither write twice nor into the next attempt."""
    announced = digests.of_bytes(DATA)

    async def upload() -> None:
        async with blobs.stage("task", announced) as staging:
            while staging.offset < announced.size:
                await staging.write(DATA[staging.offset : staging.offset + 3000])
            await staging.commit()

    async def scenario() -> None:
        await blobs.delete(announced.digest)
        for number in turns:
            attempt = asyncio.create_task(upload())
            for _ in range(number):
                await asyncio.sleep(0)
            attempt.cancel()
            await asyncio.wait([attempt], timeout=30)
        async with asyncio.timeout(30):
            await upload()
        assert blobs.path(announced.digest).read_bytes() == DATA

    asyncio.run(scenario())


def test_what_a_full_disk_cut_short_is_written_over(tmp_path: Path) -> None:
    """A write that fails half-way raises, and the same bytes sent again end in the right blob."""
    code = """
import asyncio, resource, sys
from pathlib import Path
from headwater_control.edges.blobs import FolderBlobs
from headwater_wire import digests

DATA = bytes(range(256)) * 40

async def main():
    blobs = FolderBlobs(Path(sys.argv[1]))
    async with blobs.stage("task", digests.of_bytes(DATA)) as staging:
        await staging.write(DATA[:1000])
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))
        try:
            await staging.write(DATA[1000:])
        except OSError:
            assert staging.offset == 1000
        else:
            raise AssertionError("the disk was not full")
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        await staging.write(DATA[1000:])
        blob = await staging.commit()
    assert blobs.path(blob.digest).read_bytes() == DATA

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=60)
