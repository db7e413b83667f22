"""Whatever happens, in whatever order, late or twice: what must always hold of a run, and that it ends."""

import asyncio
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from headwater_control.core.fleet import Beat
from headwater_control.core.rounds import Decision, plan
from headwater_control.core.runs import Round, RoundState, Run, RunSpec, RunState, TaskRecord, TaskState
from headwater_control.ports import Fenced
from headwater_control.service import devices, runs
from headwater_control.service.errors import Conflict
from headwater_control.service.rounds import Lead, apply
from headwater_control.service.snapshots import load_manifest, load_snapshot
from headwater_control.service.spent import forget
from headwater_control.service.world import World
from headwater_wire import digests
from headwater_wire.ids import DeviceId, RunId, TaskId
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Evaluated, Failed, Phase, Progress, ReceiptKind, Task, TaskReport
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.clock import START, FakeClock
from tests.fakes.world import METRICS, MODEL, Box, fake_world, import_digits, read_blob

BOXES = 4
_LEASE_S = 8.0


@dataclass
class Fleet:
    """A run, its boxes, and everything that was ever decided or asked."""

    world: World
    clock: FakeClock
    run: RunId
    manifest: Manifest
    boxes: list[Box]
    decided: list[tuple[Lead, Decision]] = field(default_factory=list)
    asked: dict[str, list[Task]] = field(default_factory=dict)
    committed: dict[TaskId, str] = field(default_factory=dict)
    beats: int = 0

    async def step(self, holder: str) -> None:
        """Look once and apply what is planned, if the lease can be had."""
        async with self.world.store.write() as tx:
            token = await tx.runs.lead(self.run, holder, self.clock.now(), _LEASE_S)
        if token is None:
            return
        async with self.world.store.read() as tx:
            view = await load_snapshot(self.world, tx, self.run, self.manifest, START - timedelta(days=1))
        for decision in plan(view, self.clock.now()):
            self.decided.append((Lead(self.run, view.run.round, token), decision))
            await self.apply(*self.decided[-1])

    async def apply(self, lead: Lead, decision: Decision) -> None:
        """Apply, now or long after it was decided; an overtaken leader is fenced."""
        with suppress(Fenced):
            await forget(self.world, await apply(self.world, lead, decision))

    async def held(self, box: Box) -> list[Task]:
        """Sync a box, and give its tasks."""
        await box.sync()
        self.asked.setdefault(box.name, []).extend(box.tasks)
        return list(box.tasks)

    async def upload(self, box: Box, task: Task, variant: int) -> None:
        """Deliver a delta, perhaps once more with other bytes: the receipts of one task never contradict."""
        receipt = await box.upload(task, f"{box.name} {task.round} {task.id} v{variant}".encode())
        if receipt.kind is ReceiptKind.COMMITTED:
            assert self.committed.setdefault(task.id, receipt.digest) == receipt.digest
        else:
            assert task.id not in self.committed

    async def happen(self, event: str, box: Box, number: int) -> None:
        """Let one thing happen."""
        await getattr(self, f"do_{event}")(box, number)

    async def do_step(self, _box: Box, _number: int) -> None:
        """A leader looks."""
        await self.step("a")

    async def do_other_leader(self, _box: Box, _number: int) -> None:
        """Another one would like to lead, and can once the lease of the first is over."""
        await self.step("b")

    async def do_replay(self, _box: Box, number: int) -> None:
        """An old decision arrives again, or for the first time."""
        if self.decided:
            await self.apply(*self.decided[-1 - number % len(self.decided)])

    async def do_tick(self, _box: Box, number: int) -> None:
        """Time passes."""
        await self.clock.advance((1, 9, 31, 70, 130, 200)[number])

    async def do_upload(self, box: Box, number: int) -> None:
        """A box delivers what it is asked for."""
        for task in await self.held(box):
            if task.plan.train:
                await self.upload(box, task, number)

    async def do_old_upload(self, box: Box, number: int) -> None:
        """A box delivers what it was once asked for."""
        for task in self.asked.get(box.name, [])[-2:]:
            if task.plan.train:
                await self.upload(box, task, number)

    async def do_evaluate(self, box: Box, _number: int) -> None:
        """A box scores."""
        for task in await self.held(box):
            if not task.plan.train:
                await box.sync(TaskReport(task.id, Evaluated(METRICS)))

    async def do_fail(self, box: Box, _number: int) -> None:
        """A box gives up."""
        for task in await self.held(box):
            await box.sync(TaskReport(task.id, Failed("it broke")))

    async def do_sync(self, box: Box, _number: int) -> None:
        """A box asks."""
        await self.held(box)

    async def do_offline(self, box: Box, _number: int) -> None:
        """A last will arrives."""
        await devices.presence(self.world, box.id, False, box.epoch, 2)

    async def do_online(self, box: Box, _number: int) -> None:
        """A box connects anew."""
        box.epoch += 1
        await box.register()

    async def do_beat(self, box: Box, _number: int) -> None:
        """A heartbeat shows progress."""
        self.beats += 1
        lines = tuple(Progress(task.id, Phase.TRAINING, self.beats, 99) for task in box.tasks)
        await devices.heartbeats(self.world, [(Beat(box.id, box.epoch, box.revision, self.clock.now()), lines)])

    async def do_pause(self, _box: Box, _number: int) -> None:
        """An operator steers; an ended run can't be."""
        with suppress(Conflict):
            await runs.pause(self.world, self.run)

    async def do_resume(self, _box: Box, _number: int) -> None:
        """Likewise."""
        with suppress(Conflict):
            await runs.resume(self.world, self.run)

    async def do_cancel(self, _box: Box, number: int) -> None:
        """Likewise; not often, since nothing happens after it."""
        with suppress(Conflict):
            if number == 0:
                await runs.cancel(self.world, self.run)


OWN = {"upload", "old_upload", "evaluate", "fail"}  # by these a box ends its tasks itself
EVENTS = (  # as often as they are named
    *("step", "step", "step", "step", "step", "other_leader", "replay", "replay", "tick"),
    *("upload", "upload", "upload", "old_upload", "evaluate", "evaluate", "fail", "sync", "beat"),
    *("offline", "online", "online", "pause", "resume", "resume", "cancel"),
)


@dataclass(frozen=True)
class State:
    """All rows that must keep their promises."""

    run: Run
    rounds: tuple[Round, ...]
    tasks: dict[TaskId, TaskRecord]
    revisions: dict[DeviceId, int]

    def open_of(self, device: DeviceId) -> set[TaskId]:
        """Name a device's open tasks."""
        return {task.id for task in self.tasks.values() if task.device == device and task.state is TaskState.OPEN}


async def look(fleet: Fleet) -> State:
    """Read them."""
    view = await runs.show_run(fleet.world, fleet.run)
    fleet_now = await devices.list_devices(fleet.world)
    return State(
        view.run,
        tuple(entry.round for entry in view.rounds),
        {task.id: task for entry in view.rounds for task in entry.tasks},
        {listed.device.id: listed.device.revision for listed in fleet_now},
    )


def check_step(before: State, after: State, own: DeviceId | None) -> None:
    """What is final stays; a device that something changed for has a higher revision."""
    if before.run.state.final:
        assert after.run == before.run
    for old, new in zip(before.rounds, after.rounds, strict=False):
        if old.state.final:
            assert new == old
    for name, old_task in before.tasks.items():
        if old_task.state is not TaskState.OPEN:
            assert replace(after.tasks[name], late_at=old_task.late_at) == old_task
    for device, revision in before.revisions.items():
        if device != own and before.open_of(device) != after.open_of(device):
            assert after.revisions[device] > revision
        assert after.revisions[device] >= revision


async def check_state(fleet: Fleet, state: State) -> None:
    """Tasks are open only while their round collects; versions hold each frozen delta once, in selection order."""
    by_number = {record.number: record for record in state.rounds}
    assert list(by_number) == list(range(1, len(by_number) + 1))
    assert all(record.state.final for record in state.rounds[:-1])
    for task in state.tasks.values():
        if task.state is TaskState.OPEN:
            assert by_number[task.round].state is RoundState.COLLECTING
            assert not state.run.state.final
    assert len({(task.round, task.device) for task in state.tasks.values()}) == len(state.tasks)
    expected = ["imported"]
    for record in state.rounds:
        assert (record.merged is not None) == (record.state is RoundState.COMMITTED and not record.evaluate)
        if record.merged:
            assert len(record.frozen) >= record.quorum
            assert list(record.frozen) == [
                task.id
                for task in state.tasks.values()
                if task.round == record.number and task.state is TaskState.SUCCEEDED
            ]
            expected += [f"10 {fleet_bytes(fleet, state, name)}" for name in record.frozen]
    async with fleet.world.store.read() as tx:
        version = await tx.models.version(state.run.version)
        versions = await tx.models.versions(state.run.spec.model)
    assert version is not None
    assert (await read_blob(fleet.world, version.parameters)).decode().splitlines() == expected
    assert len(versions) == 1 + sum(record.merged is not None for record in state.rounds)


def fleet_bytes(fleet: Fleet, state: State, name: TaskId) -> str:
    """Give the bytes that a task's receipt named."""
    task = state.tasks[name]
    assert task.delta is not None
    assert fleet.committed[name] == task.delta.digest
    variants = [f"{task.device} {task.round} {name} v{number}" for number in range(6)]
    return next(text for text in variants if digests.of_bytes(text.encode()).digest == task.delta.digest)


async def play(events: list[tuple[str, int, int]], *, reproducible: bool, wanted: int, scratch: Path) -> None:
    """Let the events happen, checking after each; then let everybody work until the run ends."""
    clock = FakeClock()
    world = fake_world(scratch, clock=clock)
    await import_digits(world, scratch)
    boxes = [await Box(world, f"box-{number}").register() for number in range(BOXES)]
    request = RunSpec(
        MODEL, "digits", rounds=2, clients_per_round=wanted, reproducible=reproducible, round_deadline_s=300
    )
    run = await runs.start(world, request)
    fleet = Fleet(world, clock, run.id, await load_manifest(world, run.id), boxes)
    state = await look(fleet)
    for event, who, number in events:
        box = boxes[who]
        await fleet.happen(event, box, number)
        after = await look(fleet)
        own = box.id if event in OWN else None
        check_step(state, after, own)
        await check_state(fleet, after)
        state = after
    await finish(fleet)


async def finish(fleet: Fleet) -> None:
    """With everybody at work, a run that was not cancelled completes, or fails for what happened before."""
    state = await look(fleet)
    if state.run.state is RunState.PAUSED:
        await runs.resume(fleet.world, fleet.run)
    for _ in range(40):
        for box in fleet.boxes:
            await fleet.happen("online", box, 0)
        for _ in range(4):
            await fleet.step("c")
        for box in fleet.boxes:
            await fleet.happen("upload", box, 0)
            await fleet.happen("evaluate", box, 0)
        state = await look(fleet)
        await check_state(fleet, state)
        if state.run.state.final:
            break
        await fleet.clock.advance(10)
    assert state.run.state.final, f"the run never ends: {state.run}"
    assert not [task for task in state.tasks.values() if task.state is TaskState.OPEN]
    assert state.run.state is RunState.COMPLETED or state.run.reason


@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.integers(0, BOXES - 1), st.integers(0, 5)), min_size=30, max_size=60
    ),
    st.booleans(),
    st.sampled_from([0, 2, 3]),
)
def test_a_run_keeps_its_promises_whatever_happens(
    events: list[tuple[str, int, int]], reproducible: bool, wanted: int
) -> None:
    """At most one delta is merged per task, what is final stays, devices are told, and the run ends."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(events, reproducible=reproducible, wanted=wanted, scratch=Path(folder)))
