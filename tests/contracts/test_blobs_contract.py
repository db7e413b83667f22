"""What every implementation of the port `Blobs` promises: run on the folder and on the fake."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.ports import Blobs, Missing, TakenOver
from headwater_wire import digests
from headwater_wire.chunks import CHUNK_BYTES
from headwater_wire.errors import DigestMismatch, LengthMismatch, Malformed
from headwater_wire.ids import Digest
from headwater_wire.messages import Blob
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.memory_blobs import MemoryBlobs

ABSENT = Digest("0" * 64)
LONG = bytes(range(256)) * (5 * CHUNK_BYTES // 256) + b"tail"  # more than one turn of the folder's reader


def folder(tmp_path: Path) -> Blobs:
    """The real one."""
    return FolderBlobs(tmp_path / "blobs")


def memory(tmp_path: Path) -> Blobs:
    """The fake."""
    return MemoryBlobs(tmp_path)


@pytest.fixture(params=[folder, memory], ids=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """Each implementation."""
    make: Callable[[Path], Blobs] = request.param
    return make(tmp_path)


async def read(blobs: Blobs, digest: Digest, offset: int = 0) -> bytes:
    """Read a blob to its end."""
    return b"".join([chunk async for chunk in blobs.read(digest, offset)])


async def test_what_was_put_is_there_under_its_sha256(blobs: Blobs) -> None:
    """A blob is named by its SHA-256 and given back byte for byte, also to a child process by its path."""
    blob = await blobs.put(b"abc")
    assert blob == Blob(Digest(hashlib.sha256(b"abc").hexdigest()), 3)
    assert await read(blobs, blob.digest) == b"abc" == blobs.path(blob.digest).read_bytes()
    assert await blobs.size(blob.digest) == 3


@pytest.mark.parametrize("offset", [0, 1, CHUNK_BYTES, 4 * CHUNK_BYTES + 1, len(LONG) - 1, len(LONG)])
async def test_reading_goes_on_from_any_offset(blobs: Blobs, offset: int) -> None:
    """From an offset come the rest's bytes, in chunks of at most 512 KiB."""
    blob = await blobs.put(LONG)
    chunks = [chunk async for chunk in blobs.read(blob.digest, offset)]
    assert b"".join(chunks) == LONG[offset:]
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


async def test_the_empty_blob_is_a_blob(blobs: Blobs) -> None:
    """Nothing is something, too."""
    blob = await blobs.put(b"")
    assert await blobs.size(blob.digest) == 0
    assert await read(blobs, blob.digest) == b""


async def test_a_file_is_adopted_by_moving_it(blobs: Blobs, tmp_path: Path) -> None:
    """Afterwards the file is gone and the blob is there, also when the blob was there already."""
    for _ in range(2):
        source = tmp_path / "source"
        source.write_bytes(LONG)
        blob = await blobs.adopt(source)
        assert blob == digests.of_bytes(LONG)
        assert not source.exists()
        assert await read(blobs, blob.digest) == LONG


async def test_what_is_not_there_is_said_to_be_absent(blobs: Blobs) -> None:
    """No size, and `KeyError` for whoever wants bytes or a path."""
    assert await blobs.size(ABSENT) is None
    with pytest.raises(KeyError):
        blobs.path(ABSENT)
    with pytest.raises(KeyError):
        await read(blobs, ABSENT)


async def test_deleting_is_idempotent(blobs: Blobs) -> None:
    """What was deleted is absent; to delete it again does nothing; it can be put again."""
    blob = await blobs.put(b"abc")
    for _ in range(2):
        await blobs.delete(blob.digest)
        assert await blobs.size(blob.digest) is None
    await blobs.put(b"abc")
    assert await blobs.size(blob.digest) == 3


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 65, "/" * 64, "0" * 63 + "\n"])
async def test_only_a_digest_names_a_blob(blobs: Blobs, name: str) -> None:
    """Whatever is no SHA-256 in lowercase hex is refused before it becomes a path."""
    digest = Digest(name)
    with pytest.raises(Malformed):
        blobs.path(digest)
    with pytest.raises(Malformed):
        await blobs.size(digest)
    with pytest.raises(Malformed):
        await read(blobs, digest)
    with pytest.raises(Malformed):
        await blobs.delete(digest)
    with pytest.raises(Malformed):
        async with blobs.stage("task", Blob(digest, 1)):
            raise AssertionError("opened")


@pytest.mark.parametrize("key", ["../up", "", ".", "a/b", "a\0b", "a" * 129, "ä", "a~b", "a\n"])
async def test_only_a_name_keys_an_upload(blobs: Blobs, key: str) -> None:
    """An upload's key can't lead out of the staging place."""
    with pytest.raises(Malformed):
        async with blobs.stage(key, digests.of_bytes(b"x")):
            raise AssertionError("opened")


@given(
    data=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4).map(sorted),
    leaves=st.lists(st.booleans(), min_size=5, max_size=5),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_upload_in_pieces_becomes_the_blob(blobs: Blobs, data: bytes, cuts: list[int], leaves: list[bool]) -> None:
    """However it is cut, and wherever the connection breaks, going on from the offset ends in the same blob."""

    async def upload() -> None:
        announced = digests.of_bytes(data)
        key = f"task-{announced.digest[:8]}"
        await blobs.delete(announced.digest)
        ends = [min(cut, len(data)) for cut in cuts] + [len(data)]
        done = False
        while not done:
            async with blobs.stage(key, announced) as staging:
                while ends:
                    end = ends.pop(0)
                    await staging.write(data[staging.offset : end])
                    assert staging.offset == end
                    if leaves[len(ends)] and ends:
                        break
                else:
                    assert await staging.commit() == announced
                    done = True
        assert await read(blobs, announced.digest) == data

    asyncio.run(upload())


async def test_more_than_announced_is_refused_and_not_taken(blobs: Blobs) -> None:
    """The byte too many raises; what came before is still good."""
    announced = digests.of_bytes(b"abcd")
    async with blobs.stage("task", announced) as staging:
        await staging.write(b"abc")
        with pytest.raises(LengthMismatch):
            await staging.write(b"de")
        assert staging.offset == 3
        await staging.write(b"d")
        assert await staging.commit() == announced


async def test_a_wrong_digest_discards_all(blobs: Blobs) -> None:
    """Damaged bytes make no blob, and the next attempt begins at 0."""
    announced = digests.of_bytes(b"abcd")
    async with blobs.stage("task", announced) as staging:
        await staging.write(b"abcx")
        with pytest.raises(DigestMismatch):
            await staging.commit()
        with pytest.raises(ValueError):
            await staging.write(b"")
    assert await blobs.size(announced.digest) is None
    async with blobs.stage("task", announced) as staging:
        assert staging.offset == 0


async def test_too_little_discards_all(blobs: Blobs) -> None:
    """Half a delta can't be committed."""
    announced = digests.of_bytes(b"abcd")
    async with blobs.stage("task", announced) as staging:
        await staging.write(b"ab")
        with pytest.raises(LengthMismatch):
            await staging.path()
    async with blobs.stage("task", announced) as staging:
        assert staging.offset == 0


async def test_a_staged_file_can_be_looked_over_before_it_is_committed(blobs: Blobs) -> None:
    """`path` names the whole file; no blob is made of it yet."""
    announced = digests.of_bytes(b"abcd")
    async with blobs.stage("task", announced) as staging:
        await staging.write(b"abcd")
        assert (await staging.path()).read_bytes() == b"abcd"
        assert await blobs.size(announced.digest) is None
        assert await staging.commit() == announced
    assert await read(blobs, announced.digest) == b"abcd"


async def test_another_announcement_begins_afresh(blobs: Blobs) -> None:
    """A delta trained anew doesn't go on where the older one stopped."""
    async with blobs.stage("task", digests.of_bytes(b"abcd")) as staging:
        await staging.write(b"ab")
    async with blobs.stage("task", digests.of_bytes(b"wxyz")) as staging:
        assert staging.offset == 0


async def test_the_later_of_two_uploads_takes_over(blobs: Blobs) -> None:
    """It goes on from what the first had sent, and the first is told to end."""
    announced = digests.of_bytes(b"abcd")
    async with blobs.stage("task", announced) as first:
        await first.write(b"ab")
        async with blobs.stage("task", announced) as second:
            assert second.offset == 2
            for attempt in (first.write(b"c"), first.commit(), first.path()):
                with pytest.raises(TakenOver):
                    await attempt
            await second.write(b"cd")
            assert await second.commit() == announced
    assert await read(blobs, announced.digest) == b"abcd"


async def test_two_uploads_at_once_can_not_mix(blobs: Blobs) -> None:
    """Writes that race with a take-over end as whole bytes of one of them, or as an error, never as other bytes."""
    announced = digests.of_bytes(LONG)

    async def upload() -> bool:
        try:
            async with blobs.stage("task", announced) as staging:
                while staging.offset < announced.size:
                    await staging.write(LONG[staging.offset : staging.offset + 100_000])
                await staging.commit()
        except TakenOver:
            return False
        return True

    async with asyncio.timeout(60):
        committed = await asyncio.gather(*(upload() for _ in range(4)))
    assert any(committed)
    assert await read(blobs, announced.digest) == LONG


async def test_a_sweep_spares_the_live_and_what_may_become_so(blobs: Blobs) -> None:
    """Only what no row needs, and was found so for long enough, is deleted."""
    live, dead = await blobs.put(b"live"), await blobs.put(b"dead one")
    for _ in range(2):
        assert await blobs.sweep(frozenset({live.digest})) == 0
    assert await blobs.size(dead.digest) == 8
    assert await blobs.sweep(frozenset({live.digest}), grace_s=0.0) == 8
    assert (await blobs.size(live.digest), await blobs.size(dead.digest)) == (4, None)


@pytest.mark.parametrize("absent", [ABSENT, Digest("f" * 63 + "\x06"), Digest("../../etc/passwd")])
async def test_nothing_is_swept_for_one_who_names_what_is_not_there(blobs: Blobs, absent: Digest) -> None:
    """Its rows may be damaged, or another database's: the blob that the right one names may be among the others."""
    live, other = await blobs.put(b"live"), await blobs.put(b"whose row has a flipped bit")
    with pytest.raises(Missing) as caught:
        await blobs.sweep(frozenset({live.digest, absent}), grace_s=0.0)
    assert caught.value.digests == {absent}
    assert await blobs.damaged([live.digest, other.digest]) == ()


async def test_a_sweep_spares_an_upload_in_progress(blobs: Blobs) -> None:
    """Abandoned uploads go, open ones stay."""
    announced = digests.of_bytes(b"abcd")
    async with blobs.stage("left", announced) as staging:
        await staging.write(b"abc")
    async with blobs.stage("open", announced) as staging:
        await staging.write(b"ab")
        assert await blobs.sweep(frozenset(), grace_s=0.0) == 3
        await staging.write(b"cd")
        assert await staging.commit() == announced
    async with blobs.stage("left", announced) as staging:
        assert staging.offset == 0
