"""What every implementation of the port `Cache` promises: run on the folder and on the fake."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from headwater_agent.edges.cache import WRONG_AT_MOST, FolderCache
from headwater_agent.ports import Cache, Gone, Unavailable
from headwater_wire import digests
from headwater_wire.ids import Digest
from headwater_wire.messages import Blob

from tests.fakes.agent_ports import MemoryCache
from tests.fakes.agent_uplink import ServingUplink
from tests.fakes.gate import Gate

DATA, OTHER = b"a graph" * 1000, b"base version" * 1000


@dataclass
class Target:
    """A cache, and what the control plane has for it; on the way is `gate`, then `troubles` in turn."""

    cache: Cache
    blobs: dict[Digest, bytes]
    troubles: list[Exception]
    gate: Gate

    def put(self, data: bytes) -> Blob:
        """Let the control plane have a blob."""
        blob = digests.of_bytes(data)
        self.blobs[blob.digest] = data
        return blob


def folder(root: Path) -> Target:
    """The real one, behind an uplink that only serves."""
    uplink = ServingUplink()
    return Target(FolderCache(root / "cache", uplink), uplink.blobs, uplink.troubles, uplink.gate)


def memory(root: Path) -> Target:
    """The fake."""
    cache = MemoryCache(root)
    return Target(cache, cache.blobs, cache.troubles, cache.gate)


@pytest.fixture(params=[folder, memory])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """Each implementation, empty."""
    make: Callable[[Path], Target] = request.param
    return make(tmp_path)


@pytest.mark.parametrize("durably", [True, False])
@pytest.mark.parametrize("data", [DATA, b""], ids=["full", "empty"])
async def test_a_blob_is_a_file_with_its_bytes(target: Target, data: bytes, durably: bool) -> None:
    """The place that is given holds what was asked for; the same one as often as asked, also to two at once."""
    blob = target.put(data)
    first, second = await asyncio.gather(*(target.cache.get(blob, durably=durably) for _ in range(2)))
    assert first == second == await target.cache.get(blob, durably=durably)
    assert first.read_bytes() == data


async def test_a_blob_the_control_plane_lacks_is_gone(target: Target) -> None:
    """It is asked for again each time: it may be there one day."""
    with pytest.raises(Gone):
        await target.cache.get(digests.of_bytes(DATA), durably=True)
    assert (await target.cache.get(target.put(DATA), durably=True)).read_bytes() == DATA


async def test_what_is_here_needs_nobody(target: Target) -> None:
    """A cached blob is given although the control plane has dropped it."""
    blob = target.put(DATA)
    await target.cache.get(blob, durably=True)
    target.blobs.clear()
    assert (await target.cache.get(blob, durably=True)).read_bytes() == DATA


async def test_trouble_on_the_way_is_told_and_passes(target: Target) -> None:
    """Whoever asks again gets the blob."""
    blob = target.put(DATA)
    target.troubles.append(Unavailable("the link broke", 1.5))
    with pytest.raises(Unavailable) as caught:
        await target.cache.get(blob, durably=True)
    assert caught.value.retry_after_s == 1.5
    assert (await target.cache.get(blob, durably=True)).read_bytes() == DATA


@pytest.mark.parametrize("sent", [DATA[:-1], DATA + b"x", b"?" + DATA[1:], b""])
async def test_other_bytes_than_announced_are_never_given(target: Target, sent: bytes) -> None:
    """They are thrown away, and asked for again from the beginning."""
    blob = target.put(DATA)
    target.blobs[blob.digest] = sent
    with pytest.raises(Unavailable):
        await target.cache.get(blob, durably=True)
    target.put(DATA)
    assert (await target.cache.get(blob, durably=True)).read_bytes() == DATA


@pytest.mark.parametrize("sent", [DATA[:-1], DATA + b"x", b"?" + DATA[1:], b""])
async def test_what_keeps_coming_damaged_is_gone(target: Target, sent: bytes) -> None:
    """A link damages now and then: what is wrong five times in a row is so where it comes from. Then it begins anew."""
    blob = target.put(DATA)
    target.blobs[blob.digest] = sent
    for _ in range(2):
        for _ in range(WRONG_AT_MOST - 1):
            with pytest.raises(Unavailable):
                await target.cache.get(blob, durably=True)
        with pytest.raises(Gone, match=f"{WRONG_AT_MOST} times in a row"):
            await target.cache.get(blob, durably=True)
    for _ in range(WRONG_AT_MOST - 1):
        with pytest.raises(Unavailable):
            await target.cache.get(blob, durably=True)
    target.put(DATA)
    assert (await target.cache.get(blob, durably=True)).read_bytes() == DATA


async def test_pruning_deletes_all_but_what_is_to_be_kept(target: Target) -> None:
    """What was kept stays where it is, what was deleted can be had again; to keep what isn't here is no mistake."""
    kept, dropped = target.put(DATA), target.put(OTHER)
    places = [await target.cache.get(blob, durably=True) for blob in (kept, dropped)]
    await target.cache.prune(frozenset({kept.digest, Digest("0" * 64)}))
    assert [place.exists() for place in places] == [True, False]
    target.blobs.clear()
    assert (await target.cache.get(kept, durably=True)).read_bytes() == DATA
    with pytest.raises(Gone):
        await target.cache.get(dropped, durably=True)
    target.put(OTHER)
    assert (await target.cache.get(dropped, durably=False)).read_bytes() == OTHER
    await target.cache.prune([])
    assert not places[0].exists()


async def test_what_was_taken_away_is_brought_again(target: Target) -> None:
    """An installed version is moved out of the cache: whoever asks for it later gets it all the same."""
    blob = target.put(DATA)
    place = await target.cache.get(blob, durably=True)
    place.rename(place.with_name("elsewhere"))
    assert (await target.cache.get(blob, durably=True)).read_bytes() == DATA
    await target.cache.prune([])


async def test_pruning_spares_what_is_being_fetched(target: Target) -> None:
    """The fetch ends as if nothing had happened."""
    blob = target.put(DATA)
    target.gate.close()
    fetching = asyncio.create_task(target.cache.get(blob, durably=True))
    async with asyncio.timeout(10):
        await target.gate.reached.wait()
        await target.cache.prune([])
        target.gate.open()
        assert (await fetching).read_bytes() == DATA
