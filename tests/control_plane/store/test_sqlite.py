"""What is SQLite's alone: one file, one writer, a log beside it."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from headwater_control.edges.store import open_store
from headwater_control.ports import Busy
from headwater_wire.messages import Inventory

from tests.support.rows import BOX, device

COMMITS_UNTIL_KILLED = """
import asyncio, sys
from headwater_control.edges.store import open_store
from tests.support.rows import BOX, device

async def main():
    async with open_store(sys.argv[1]) as store:
        async with store.write() as tx:
            await tx.devices.save(device())
        while True:
            async with store.write() as tx:
                revisions = await tx.devices.raise_revision([BOX])
            print(revisions[BOX], flush=True)

asyncio.run(main())
"""


async def test_two_processes_write_one_file(tmp_path: Path) -> None:
    """Neither is told that the database is locked, and nothing is lost."""
    url = f"sqlite:///{tmp_path / 'headwater.db'}"
    async with open_store(url) as one, open_store(url) as two:
        async with one.write() as tx:
            await tx.devices.save(device())

        async def count(turn: int) -> None:
            async with (one, two)[turn % 2].write() as tx:
                found = await tx.devices.get(BOX)
                assert found is not None
                await tx.devices.save(replace(found, revision=found.revision + 1))

        await asyncio.gather(*(count(turn) for turn in range(60)))
        async with two.read() as view:
            assert await view.devices.get(BOX) == device(revision=60)


async def test_a_file_that_can_t_be_opened_now_is_a_passing_trouble(tmp_path: Path) -> None:
    """As when all descriptors are in use: whoever looks every second looks again, and nobody ends for it."""
    folder = tmp_path / "data"
    folder.mkdir()
    async with open_store(f"sqlite:///{folder / 'headwater.db'}") as store:
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(Busy, match="unable to open"):
            async with store.read(), store.read(), store.read(), store.read():
                pass
        (tmp_path / "elsewhere").rename(folder)
        async with store.read() as view:
            assert await view.devices.matching() == ()


async def test_the_log_does_not_grow_without_end(tmp_path: Path) -> None:
    """Forty megabytes of commits leave a log of a few: it is folded into the file as it goes."""
    path = tmp_path / "headwater.db"
    async with open_store(f"sqlite:///{path}") as store:
        for turn in range(40):
            async with store.write() as tx:
                await tx.devices.save(device(inventory=Inventory(hostname=f"{turn:02d}" * 500_000)))
        assert path.with_name("headwater.db-wal").stat().st_size < 12 * 2**20


async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    """A process killed in the middle of committing leaves every commit it spoke of."""
    url = f"sqlite:///{tmp_path / 'headwater.db'}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMITS_UNTIL_KILLED, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    acknowledged = 0
    try:
        async with asyncio.timeout(60):
            while acknowledged < 50:
                acknowledged = int(await process.stdout.readline())
    finally:
        process.kill()
    async with asyncio.timeout(60):
        whole_lines = (await process.stdout.read()).split(b"\n")[:-1]
        await process.wait()
    acknowledged = max([acknowledged, *(int(line) for line in whole_lines)])
    async with open_store(url) as store, store.read() as tx:
        found = await tx.devices.get(BOX)
    assert found is not None
    assert found.revision in {acknowledged, acknowledged + 1}
