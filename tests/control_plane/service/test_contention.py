"""Use cases side by side on a real PostgreSQL, whose row locks let two of them wait for each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from headwater_control.core.fleet import Beat
from headwater_control.core.rollout import DeploymentState, RolloutState
from headwater_control.core.runs import RunSpec
from headwater_control.ports import Store, Transaction
from headwater_control.service import devices, rollouts, runs
from headwater_control.service.errors import Conflict
from headwater_control.service.sync import syncs
from headwater_control.service.work import work
from headwater_control.service.world import World
from headwater_wire.ids import RolloutId, TaskId, VersionId
from headwater_wire.messages import DeploymentReport, Failed, HeldTask, Phase, Progress, SyncRequest, TaskReport

from tests.control_plane.service.driver import step
from tests.fakes.world import MODEL, Box, fake_world, import_digits
from tests.support import stores
from tests.support.waiting import until

pytestmark = pytest.mark.long

BOXES, TARGET, ROUNDS, SHIPMENTS = 30, 5, 4, 12
V1, SITE_A = VersionId("digits-1"), (("site", "a"),)
# PostgreSQL looks for a deadlock after a second; whoever waits for less never meets its verdict.
LOCK_WAIT_S = 20.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Put a control plane together on a database of its own."""
    async with stores.postgres(tmp_path, wait_s=LOCK_WAIT_S) as store:
        made = fake_world(tmp_path, store=store)
        await import_digits(made, tmp_path)
        yield made


async def test_devices_that_talk_while_their_round_ends_wait_for_nobody_in_a_circle(world: World) -> None:
    """Heartbeats and syncs of all devices, while rounds end with most tasks open: nothing ends with a deadlock."""
    boxes = [await Box(world, f"box-{number:02d}").register() for number in range(BOXES)]
    spec = RunSpec(MODEL, "digits", rounds=ROUNDS, clients_per_round=TARGET, over_select=BOXES / TARGET)
    run = await runs.start(world, spec)
    talking = [asyncio.create_task(work(world, boxes), name=f"test.{work.__name__}") for work in (_beat, _sync)]
    for _ in range(ROUNDS):
        await step(world, run.id)  # the last round closes, its other tasks are dropped, and everybody is asked anew
        for box in boxes[:TARGET]:
            (task,) = (await box.sync()).tasks
            await box.upload(task)
    for talk in talking:
        assert not talk.done(), talk.exception()
        talk.cancel()
    await asyncio.gather(*talking, return_exceptions=True)


async def test_batches_that_come_in_any_order_wait_for_nobody_in_a_circle(world: World) -> None:
    """Births, syncs and heartbeats of the same devices, each batch in an order of its own: none is lost."""
    boxes = [await Box(world, f"box-{number:02d}").register() for number in range(BOXES)]
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, clients_per_round=BOXES))
    await step(world, run.id)
    for box in boxes:
        await box.sync()
    chance = Random(7)

    async def arrive() -> None:
        for seq in range(2, 12):
            await devices.arrive(world, [devices.Sign(box.id, True, 1, seq) for box in _shuffled(boxes, chance)])

    async def sync() -> None:
        for number in range(10):
            phase = (Phase.FETCHING, Phase.ACCEPTED)[number % 2]
            held = {box.id: tuple(HeldTask(task.id, phase) for task in box.tasks) for box in boxes}
            some = _shuffled(boxes, chance)
            await syncs(world, [SyncRequest(box.id, 1, box.revision, held=held[box.id]) for box in some])

    beating = asyncio.create_task(_beat(world, boxes), name="test.beat")
    await _side_by_side(arrive, arrive, sync, sync)
    assert not beating.done(), beating.exception()
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_installs_are_told_while_devices_move_and_rollouts_begin_and_end(world: World) -> None:
    """Each changes deployments and their devices, in batches of any order: nothing ends with a deadlock."""
    boxes = [await Box(world, f"box-{number:02d}", {"site": "a"}).register() for number in range(BOXES)]
    await rollouts.start(world, V1, SITE_A)
    chance = Random(7)

    async def ship() -> None:
        for number in range(SHIPMENTS):
            begun = await rollouts.start(world, V1, SITE_A)
            with suppress(Conflict):  # all are installed
                if number % 2:
                    await rollouts.cancel(world, begun.id)

    async def install() -> None:
        reports = tuple(DeploymentReport(RolloutId("any"), MODEL, number, True) for number in range(SHIPMENTS + 2))
        for _ in range(SHIPMENTS):
            some = _shuffled(boxes, chance)[: BOXES // 2]
            await syncs(world, [SyncRequest(box.id, 1, box.revision, deployments=reports) for box in some])

    async def move() -> None:
        for number in range(SHIPMENTS):
            some = [replace(box, labels={"site": "ab"[number % 2]}) for box in _shuffled(boxes[1:], chance)]
            await devices.arrive(world, [devices.Registration(box.id, box.hello(), box.hello_hash()) for box in some])

    await _side_by_side(ship, install, move)


async def test_a_device_that_joins_a_rollout_as_it_tells_of_an_install_waits_for_nobody(world: World) -> None:
    """It comes to a newer rollout by a label, which takes the older install back that it reports just then."""
    boxes = [await Box(world, f"box-{number:02d}").register() for number in range(BOXES)]
    await Box(world, "there", {"site": "a"}).register()
    chance = Random(7)
    for number in range(4):
        older = await rollouts.start(world, V1)
        await rollouts.start(world, V1, SITE_A)
        report = DeploymentReport(older.id, MODEL, older.generation, True)
        moved = [replace(box, labels={"site": "a"}, epoch=number + 2) for box in boxes]

        async def join(moved: list[Box] = moved) -> None:
            some = _shuffled(moved, chance)
            await devices.arrive(world, [devices.Registration(box.id, box.hello(), box.hello_hash()) for box in some])

        async def install(report: DeploymentReport = report) -> None:
            some = _shuffled(boxes, chance)
            await syncs(world, [SyncRequest(box.id, 1, box.revision, deployments=(report,)) for box in some])

        await _side_by_side(join, install)
        for box in boxes:
            await replace(box, epoch=number + 2).register()  # without the label


async def test_a_device_that_joins_a_rollout_as_it_is_cancelled_is_not_changed_unlocked(world: World) -> None:
    """Else it and whoever holds the device would wait for each other. It is told right after."""
    await Box(world, "first", {"site": "a"}).register()
    late = await Box(world, "late").register()
    begun = await rollouts.start(world, V1, SITE_A)
    joining = replace(late, labels={"site": "a"}, epoch=2)
    async with work(world) as unit:

        async def join() -> None:  # after the rollout's devices were read, before they are locked
            await joining.register()
            await unit.tx.devices.get(late.id, lock=True)

        watched = Watched(world.store, join)
        cancelling = asyncio.create_task(rollouts.cancel(replace(world, store=watched), begun.id), name="test.cancel")

        async def is_cancelled() -> bool:
            async with world.store.read() as tx:
                found = await tx.rollouts.get(begun.id)
            return found is not None and found.state is RolloutState.CANCELLED

        async with asyncio.timeout(LOCK_WAIT_S):
            while not await is_cancelled():  # noqa: ASYNC110 (a state in the database)
                await asyncio.sleep(0.01)
    await cancelling
    async with world.store.read() as tx:
        states = {record.device: record.state for record in await tx.rollouts.deployments(begun.id)}
    assert states == {"first": DeploymentState.SUPERSEDED, "late": DeploymentState.SUPERSEDED}


async def test_a_task_that_is_given_while_a_device_and_the_database_agree_is_not_hidden(world: World) -> None:
    """The answer has it, or the device is told less than the database counts, and its next heartbeat rings it."""
    watched = Watched(world.store)
    box = await Box(replace(world, store=watched), "box", revision=12).register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    (known,) = (await runs.show_run(world, run.id)).rounds[0].tasks
    given = replace(known, id=TaskId("given"))
    watched.locks.clear()
    async with work(world) as unit:
        await unit.tx.devices.get(box.id, lock=True)
        syncing = asyncio.create_task(box.sync(), name="test.sync")
        await until(watched.locks.is_set, "it has read what it answers, or waits to read it")
        await unit.tx.tasks.add([given])
        unit.changed(box.id)
    answer = await syncing
    async with world.store.read() as tx:
        stored = await tx.devices.get(box.id)
    assert stored is not None
    assert answer.revision < stored.revision or given.id in {task.id for task in answer.tasks}


@dataclass
class Watched:
    """A store that tells when somebody is about to lock devices; the first time it does something else before."""

    store: Store
    before: Callable[[], Awaitable[object]] | None = None
    locks: asyncio.Event = field(default_factory=asyncio.Event)

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a view."""
        return self.store.read()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Open a transaction."""
        async with self.store.write() as tx:
            for name in ("get", "several"):
                setattr(tx.devices, name, self._telling(getattr(tx.devices, name)))
            yield tx

    def _telling(self, read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(*what: object, lock: bool = False) -> object:
            if lock:
                first, self.before = self.before, None
                if first is not None:
                    await first()
                self.locks.set()
            return await (read(*what, lock=True) if lock else read(*what))

        return told


def _shuffled(boxes: list[Box], chance: Random) -> list[Box]:
    return chance.sample(boxes, len(boxes))


async def _side_by_side(*loops: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run them against each other; the first that fails ends all."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for loop in loops:
            tasks.create_task(loop(), name=f"test.{loop.__name__}")


async def _beat(world: World, boxes: list[Box]) -> None:
    """Send everybody's heartbeat, in one batch, over and over."""
    number = 0
    while True:
        number += 1
        await devices.heartbeats(
            world,
            [
                (
                    Beat(box.id, box.epoch, box.revision, world.clock.now()),
                    tuple(Progress(task.id, Phase.TRAINING, number, 1_000_000) for task in box.tasks),
                )
                for box in boxes
            ],
        )


async def _sync(world: World, boxes: list[Box]) -> None:
    """Let one after the other sync, some with a task that failed."""
    while True:
        for number, box in enumerate(boxes[1:]):
            reports = [TaskReport(task.id, Failed("no")) for task in box.tasks if number % 7 == 6]
            await box.sync(*reports, held=tuple(HeldTask(task.id, Phase.FETCHING) for task in box.tasks))
