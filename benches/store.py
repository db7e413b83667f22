"""Heartbeats into the store: a batch in one statement against one statement each, and a fleet's listing."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from headwater_control.core.fleet import Beat, Device
from headwater_control.edges.store import open_store
from headwater_control.ports import Store
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Column, DatasetCard, Inventory

DEVICES = 10_000
ALONE = 500  # heartbeats sent one by one: enough to measure, few enough to wait for
ROUNDS = 3
NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
CARD = DatasetCard("digits", 300, (Column("pixels", "float32", (64,)), Column("label", "int64", ())))


async def _fill(store: Store) -> list[Beat]:
    names = [DeviceId(f"box-{number:05d}") for number in range(DEVICES)]
    async with store.write() as tx:
        for number, name in enumerate(names):
            labels = (("site", f"site-{number % 100}"),)
            await tx.devices.save(Device(name, NOW, labels, Inventory(hostname=name), (CARD,), ("ort",)))
    return [Beat(name, 1, 1, NOW) for name in names]


async def _batched(store: Store, beats: list[Beat]) -> None:
    async with store.write() as tx:
        await tx.devices.touch(beats)


async def _one_by_one(store: Store, beats: list[Beat]) -> None:
    for beat in beats:
        async with store.write() as tx:
            await tx.devices.touch([beat])


async def _list(store: Store) -> None:
    async with store.read() as tx:
        assert len(await tx.devices.matching()) == DEVICES


async def _list_one_site(store: Store) -> None:
    async with store.read() as tx:
        assert len(await tx.devices.matching((("site", "site-7"),))) == DEVICES // 100


async def _seconds(what: Callable[[], Awaitable[None]]) -> float:
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await what()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


async def _measure(folder: Path) -> None:
    async with open_store(f"sqlite:///{folder / 'headwater.db'}") as store:
        beats = await _fill(store)
        batched = DEVICES / await _seconds(lambda: _batched(store, beats))
        alone = ALONE / await _seconds(lambda: _one_by_one(store, beats[:ALONE]))
        whole = await _seconds(lambda: _list(store))
        site = await _seconds(lambda: _list_one_site(store))
    print(f"heartbeats, SQLite, durable: {batched:,.0f}/s batched, {alone:,.0f}/s one by one: × {batched / alone:.0f}")
    print(
        f"listing {DEVICES:,} devices: {whole * 1e3:.0f} ms; the {DEVICES // 100} of one site: {site * 1e3:.1f} ms, "
        f"× {site / whole:.3f} of that"
    )


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as folder:
        asyncio.run(_measure(Path(folder)))


if __name__ == "__main__":
    main()
