"""What lies on the box's disk: deltas, blobs, installed versions."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
from headwater_agent.edges.cache import FolderCache
from headwater_agent.edges.models import FolderShelf
from headwater_agent.edges.spool import FolderSpool
from headwater_agent.ports import Damaged, Gone, Spool, Unavailable, freely
from headwater_wire.ids import Digest, ModelName, TaskId, VersionId
from headwater_wire.messages import Offer, Receipt, SyncAnswer, SyncRequest

from tests.fakes.agent_bundle import blob
from tests.fakes.agent_ports import MemorySpool

T1 = TaskId("t1")
DELTA = b"a delta's bytes"


def names(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(path.name for path in folder.iterdir())


def target(link: Path) -> Path:
    """Read a link."""
    return link.readlink()


# ── the spool: one contract for the real one and the fake ──────────────────────────────────────────────────────


@pytest.fixture(params=[FolderSpool, MemorySpool])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    """A spool of either kind."""
    made: Spool = request.param(tmp_path)
    return made


async def adopted(spool: Spool, task: TaskId = T1) -> Path:
    """Spool a delta."""
    source = spool.work_path(task, 1)
    source.write_bytes(DELTA)
    await spool.adopt(task, source, blob(DELTA))
    assert not source.exists()
    return await spool.open(task, blob(DELTA))


async def test_a_delta_is_kept_until_it_is_discarded(spool: Spool) -> None:
    """And discarding it twice is no mistake."""
    assert (await adopted(spool)).read_bytes() == DELTA
    await spool.discard(T1)
    await spool.discard(T1)
    with pytest.raises(Damaged):
        await spool.open(T1, blob(DELTA))


async def test_every_flipped_bit_and_every_lost_byte_of_a_delta_is_found(tmp_path: Path) -> None:
    """What the disk has done to a delta is found before it is uploaded, after a restart as well."""
    await adopted(FolderSpool(tmp_path))
    place = tmp_path / "spool" / f"{T1}.delta"
    harm = [DELTA[:size] for size in range(len(DELTA))] + [DELTA + b"\0"]
    harm += [DELTA[:n] + bytes([DELTA[n] ^ 1 << bit]) + DELTA[n + 1 :] for n in range(len(DELTA)) for bit in range(8)]
    spool = FolderSpool(tmp_path)
    for data in harm:
        place.write_bytes(data)
        with pytest.raises(Damaged, match="the delta is damaged"):
            await spool.open(T1, blob(DELTA))


async def test_a_folder_that_a_killed_worker_left_is_swept(tmp_path: Path) -> None:
    """The native engine builds its graphs in one, where the worker may write."""
    spool = FolderSpool(tmp_path)
    left = spool.work_path(T1, 1)
    left.mkdir()
    (left / "training_model.onnx").touch()
    assert await spool.sweep([]) == (left.name,)
    assert names(left.parent) == []


async def test_what_is_not_the_announced_delta_is_not_adopted(spool: Spool) -> None:
    """A worker that wrote less than it said."""
    source = spool.work_path(T1, 1)
    source.write_bytes(DELTA[:-1])
    with pytest.raises(Damaged):
        await spool.adopt(T1, source, blob(DELTA))


async def test_work_never_meets_the_work_of_another_attempt(spool: Spool) -> None:
    """A child that outlived its agent writes where nobody looks."""
    assert spool.work_path(T1, 1) != spool.work_path(T1, 1)


async def test_a_sweep_deletes_what_no_record_tells_of(spool: Spool) -> None:
    """It is never uploaded blindly."""
    kept = await adopted(spool, TaskId("kept"))
    await adopted(spool, TaskId("orphan"))
    spool.work_path(TaskId("cut-short"), 1).write_bytes(b"half")
    swept = await spool.sweep([TaskId("kept")])
    assert len(swept) == 2 and "orphan" in swept[1] and "cut-short" in swept[0]
    assert kept.exists()
    with pytest.raises(Damaged):
        await spool.open(TaskId("orphan"), blob(DELTA))


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d + b"x", lambda d: bytes([d[0] ^ 1]) + d[1:], None])
async def test_damage_is_found_before_each_upload_but_the_first(
    tmp_path: Path, damage: Callable[[bytes], bytes] | None
) -> None:
    """Cut, longer, a flipped bit, or gone: the delta is not sent, neither in this life nor in the next."""
    spool = FolderSpool(tmp_path)
    path = await adopted(spool)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(DELTA))
    for life in (spool, FolderSpool(tmp_path)):
        with pytest.raises(Damaged):
            await life.open(T1, blob(DELTA))


# ── the cache ──────────────────────────────────────────────────────────────────────────────────────────────────

BIG = bytes(range(256)) * 4096


class Source:
    """An uplink that only fetches: each fetch follows the next plan, an amount of bytes after which it breaks."""

    def __init__(self, data: bytes, *breaks: int) -> None:
        self.data = data
        self.breaks = list(breaks)
        self.offsets: list[int] = []

    async def fetch(self, digest: Digest, offset: int) -> AsyncGenerator[bytes, None]:
        """Give the bytes, or a part."""
        self.offsets.append(offset)
        if not self.data:
            raise Gone("no such blob")
        limit = self.breaks.pop(0) if self.breaks else len(self.data)
        for start in range(offset, limit, 10_000):
            yield self.data[start : min(start + 10_000, limit)]
        if limit < len(self.data):
            raise Unavailable("the link broke")

    async def sync(self, request: SyncRequest) -> SyncAnswer:
        """Not here."""
        raise NotImplementedError

    async def upload(
        self, offer: Offer, path: Path, sent: Callable[[int], None], wanted: Callable[[], Awaitable[None]] = freely
    ) -> Receipt:
        """Not here."""
        raise NotImplementedError


@pytest.mark.parametrize("durably", [True, False])
async def test_a_broken_fetch_is_resumed(tmp_path: Path, durably: bool) -> None:
    """From the byte where it broke; once it is whole, it is never fetched again, in this life or the next."""
    source = Source(BIG, 300_000, 700_000)
    cache = FolderCache(tmp_path, source)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await cache.get(blob(BIG), durably=durably)
    path = await cache.get(blob(BIG), durably=durably)
    assert path.read_bytes() == BIG
    await cache.get(blob(BIG), durably=durably)
    await FolderCache(tmp_path, source).get(blob(BIG), durably=durably)
    assert source.offsets == [0, 300_000, 700_000]


async def test_what_a_power_loss_damaged_is_fetched_again(tmp_path: Path) -> None:
    """A cached file is trusted only after its SHA-256 was checked in this life."""
    source = Source(BIG)
    path = await FolderCache(tmp_path, source).get(blob(BIG), durably=False)
    path.write_bytes(b"\0" * len(BIG))
    assert (await FolderCache(tmp_path, source).get(blob(BIG), durably=False)).read_bytes() == BIG


@pytest.mark.parametrize("sent", [BIG[:-1] + b"?", BIG + b"more", b"?" + BIG[1:]])
async def test_wrong_bytes_are_thrown_away(tmp_path: Path, sent: bytes) -> None:
    """The next attempt begins at 0."""
    source = Source(sent)
    cache = FolderCache(tmp_path, source)
    with pytest.raises(Unavailable):
        await cache.get(blob(BIG), durably=True)
    source.data = BIG
    assert (await cache.get(blob(BIG), durably=True)).read_bytes() == BIG
    assert source.offsets == [0, 0]


async def test_a_part_from_another_life_that_is_damaged_is_found(tmp_path: Path) -> None:
    """Its bytes count in the digest of the whole."""
    (tmp_path / f"{blob(BIG).digest}.part").write_bytes(b"?" * 500_000)
    source = Source(BIG)
    cache = FolderCache(tmp_path, source)
    with pytest.raises(Unavailable, match="SHA-256"):
        await cache.get(blob(BIG), durably=True)
    assert (await cache.get(blob(BIG), durably=True)).read_bytes() == BIG
    assert source.offsets == [500_000, 0]


async def test_pruning_keeps_what_is_named(tmp_path: Path) -> None:
    """And what is gone can be had again."""
    source = Source(BIG)
    cache = FolderCache(tmp_path, source)
    await cache.get(blob(BIG), durably=True)
    (tmp_path / f"{blob(b'x').digest}.part").write_bytes(b"half")
    await cache.prune({blob(BIG).digest})
    assert names(tmp_path) == [blob(BIG).digest]
    await cache.prune(())
    assert names(tmp_path) == []
    await cache.get(blob(BIG), durably=True)
    assert source.offsets == [0, 0]


async def test_a_blob_the_control_plane_lacks_is_gone(tmp_path: Path) -> None:
    """That is final, not a reason to try again."""
    with pytest.raises(Gone):
        await FolderCache(tmp_path, Source(b"")).get(blob(BIG), durably=True)


async def test_an_empty_blob_is_a_blob(tmp_path: Path) -> None:
    """Nobody sends one, but it must not be asked for for ever."""
    source = Source(b"x")
    source.fetch = lambda digest, offset: _nothing()  # type: ignore[method-assign]
    assert (await FolderCache(tmp_path, source).get(blob(b""), durably=True)).read_bytes() == b""


async def _nothing() -> AsyncGenerator[bytes, None]:
    for chunk in list[bytes]():
        yield chunk


# ── installed versions ─────────────────────────────────────────────────────────────────────────────────────────

M = ModelName("m")


async def install(shelf: FolderShelf, folder: Path, number: int) -> None:
    """Install a version whose content is its name."""
    source = folder / "fetched"
    source.write_bytes(f"m-{number}".encode())
    await shelf.put(M, VersionId(f"m-{number}"), source)
    await shelf.activate(M, VersionId(f"m-{number}"))


async def test_current_is_always_a_whole_version_and_the_one_before_is_kept(tmp_path: Path) -> None:
    """Older ones are removed."""
    shelf = FolderShelf(tmp_path / "models")
    for number in (1, 2, 3):
        await install(shelf, tmp_path, number)
        assert (tmp_path / "models/m/current/model.onnx").read_text() == f"m-{number}"
    assert names(tmp_path / "models/m/versions") == ["m-2", "m-3"]
    assert (tmp_path / "models/m/previous/model.onnx").read_text() == "m-2"
    assert not target(tmp_path / "models/m/current").is_absolute(), "the state_dir may be moved"


async def test_activating_twice_changes_nothing(tmp_path: Path) -> None:
    """A crash after it, and it happens again: the version before stays the one before."""
    shelf = FolderShelf(tmp_path / "models")
    for number in (1, 2, 2):
        await install(shelf, tmp_path, number)
    assert (tmp_path / "models/m/previous/model.onnx").read_text() == "m-1"


async def test_going_back_needs_no_fetch(tmp_path: Path) -> None:
    """The version before is found, and checked by its digest."""
    shelf = FolderShelf(tmp_path / "models")
    for number in (1, 2):
        await install(shelf, tmp_path, number)
    assert await shelf.find(M, VersionId("m-1"), blob(b"m-1"))
    assert not await shelf.find(M, VersionId("m-1"), blob(b"other"))
    assert not await shelf.find(M, VersionId("m-7"), blob(b"m-7"))
    await shelf.activate(M, VersionId("m-1"))
    assert (tmp_path / "models/m/current/model.onnx").read_text() == "m-1"
    assert (tmp_path / "models/m/previous/model.onnx").read_text() == "m-2"


async def test_a_link_that_a_kill_left_half_way_is_gone_after_a_start(tmp_path: Path) -> None:
    """What was current stays so."""
    await install(FolderShelf(tmp_path / "models"), tmp_path, 1)
    (tmp_path / "models/m/.hw-tmp-0123456789abcdef").symlink_to("versions/m-2")
    FolderShelf(tmp_path / "models")
    assert names(tmp_path / "models/m") == ["current", "versions"]
    assert (tmp_path / "models/m/current/model.onnx").read_text() == "m-1"
