"""The whole agent as a process: a real broker, a scripted gateway, a real worker with the constant engine."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from headwater_agent.core.maintenance import Instant, Lock
from headwater_agent.core.session import Box, Stage
from headwater_agent.edges.console import ask
from headwater_agent.edges.journal import open_journal
from headwater_agent.edges.maintenance import MaintenanceFile
from headwater_agent.survey import NOT_YET
from headwater_wire.codecs import open_delta, write_delta
from headwater_wire.ids import TaskId
from headwater_wire.messages import Failed, Rejected
from headwater_wire.v1 import fleet_pb2 as fleet

from tests.fakes.agent_bundle import DEVICE, offered, write_examples
from tests.fakes.agent_gateway import ScriptedGateway, refusing, serving
from tests.fakes.agent_home import AgentProcess, Home, restarted, until
from tests.fakes.agent_surroundings import World


async def test_a_task_is_trained_uploaded_and_forgotten(world: World) -> None:
    """From registration to receipt: the delta arrives once, and nothing of it stays on the box."""
    async with AgentProcess(world.file) as agent:
        await until(lambda: world.gateway.requests, "its first Sync")
        task = offered(world.gateway, world.home.folder)
        world.gateway.open(task)
        await world.ear.assign(world.gateway.revision, task)
        await until(lambda: task.id in world.gateway.deltas, "the delta")
        await until(lambda: folders_empty(world.home.state, "spool", "work"), "the box to be clean")
        await until(lambda: world.ear.hellos[-1].datasets[0].examples == 10, "what it has found in its data")
        agent.send(signal.SIGTERM)
        assert await agent.ended(5.0) == 0, agent.log
    assert world.ear.kinds[:2] == ["presence", "hello"]
    assert [(p.online, p.epoch) for p in world.ear.presences] == [(True, 1), (False, 1)]
    assert world.gateway.metrics[task.id].examples == 8
    assert world.gateway.requests[0].device == DEVICE


async def test_a_lost_assignment_is_healed_by_sync(world: World) -> None:
    """No message ever came: the first Sync brings the task."""
    task = offered(world.gateway, world.home.folder)
    world.gateway.open(task)
    async with AgentProcess(world.file):
        await until(lambda: task.id in world.gateway.deltas, "the delta")
    assert world.gateway.revision == 1


async def test_without_a_broker_a_task_goes_its_way_by_grpc_alone(tmp_path: Path) -> None:
    """Nothing ever listens where the broker should be: fetched, trained and uploaded all the same, and stopped well."""
    gateway = ScriptedGateway()
    task = offered(gateway, tmp_path)
    gateway.open(task)
    with closed_port() as broker_port:
        async with serving(gateway) as port, AgentProcess(Home(tmp_path, broker_port, port).write()) as agent:
            await until(lambda: task.id in gateway.deltas, "the delta")
            await until(lambda: folders_empty(tmp_path / "state", "spool", "work"), "the box to be clean")
            assert "no connection to the broker" in agent.log
            agent.send(signal.SIGTERM)
            assert await agent.ended(5.0) == 0, agent.log
    assert gateway.calls["receipt"] == 1


@contextmanager
def closed_port() -> Iterator[int]:
    """Hold a port that refuses every connection: bound, and never listened on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def undisturbed(folder: Path) -> bytes:
    """Compute the delta: two epochs of four steps, each of which adds a half."""
    path = folder / "expected"
    write_delta(path, np.full(ELEMENTS, 2 * 4 * 0.5, np.float32))
    return path.read_bytes()


ELEMENTS = 300_000  # a delta of five chunks


@pytest.mark.parametrize(
    "step",
    ["agent.assigned", "agent.training", "agent.trained", "agent.spooled", "agent.upload.half", "agent.receipt"],
)
async def test_a_kill_at_any_step_of_a_task_costs_nothing(world: World, step: str) -> None:
    """After the restart the same delta arrives, once, bit for bit, and nothing is left on the box."""
    task = offered(world.gateway, world.home.folder, elements=ELEMENTS)
    world.gateway.open(task)
    async with restarted(world.file, HEADWATER_CRASH_AT=step) as agent:
        await until(lambda: task.id in world.gateway.deltas, "the delta")
        await until(lambda: folders_empty(world.home.state, "spool", "work"), "the box to be clean")
        agent.send(signal.SIGTERM)
        assert await agent.ended(5.0) == 0
    assert world.gateway.deltas[task.id] == undisturbed(world.home.folder)
    assert world.gateway.calls["receipt"] == 1, "it was committed once"


@pytest.mark.parametrize("step", ["agent.unprotected", "agent.trained"])
async def test_a_kill_before_a_delta_is_protected_leaves_none_that_is_not(world: World, step: str) -> None:
    """Under the owner's clip_norm: nothing is spooled by then, and what arrives after the restart is clipped."""
    with world.file.open("a") as file:
        file.write("[policy]\nclip_norm = 0.5\n")
    task = offered(world.gateway, world.home.folder, elements=ELEMENTS)
    world.gateway.open(task)
    async with AgentProcess(world.file, {"HEADWATER_CRASH_AT": step}) as first:
        assert await first.ended() == -signal.SIGKILL, first.log
    assert folders_empty(world.home.state, "spool") and not world.gateway.deltas
    async with AgentProcess(world.file):
        await until(lambda: task.id in world.gateway.deltas, "the delta")
        await until(lambda: folders_empty(world.home.state, "spool", "work", "guarded"), "the box to be clean")
    (world.home.folder / "arrived").write_bytes(world.gateway.deltas[task.id])
    with open_delta(world.home.folder / "arrived", "f32", ELEMENTS) as floats:
        assert 0.499 < np.linalg.norm(floats.load().astype(np.float64)) <= 0.5


async def test_a_box_that_dies_by_training_stops_trying(world: World) -> None:
    """Three attempts, then the task has failed, and the next like it is rejected with the reason."""
    task = offered(world.gateway, world.home.folder)
    world.gateway.open(task)
    for _ in range(3):
        async with AgentProcess(world.file, {"HEADWATER_CRASH_AT": "agent.trained"}) as agent:
            assert await agent.ended() == -signal.SIGKILL, agent.log
    async with AgentProcess(world.file):
        await until(lambda: world.gateway.reports, "the report")
        assert isinstance(world.gateway.reports[0].outcome, Failed)
        another = replace(task, id=TaskId("task-2"))
        world.gateway.open(another)
        await world.ear.assign(world.gateway.revision, another)
        await until(lambda: len(world.gateway.reports) == 2, "the rejection")
    outcome = world.gateway.reports[1].outcome
    assert isinstance(outcome, Rejected) and "not tried for a day" in outcome.reason


async def test_a_corrupted_spool_is_never_uploaded(world: World) -> None:
    """It is trained again, and the right bytes arrive."""
    task = offered(world.gateway, world.home.folder, elements=ELEMENTS)
    world.gateway.open(task)
    async with AgentProcess(world.file, {"HEADWATER_CRASH_AT": "agent.spooled"}) as agent:
        await agent.ended()
    flip(world.home.state / "spool" / f"{task.id}.delta")
    async with AgentProcess(world.file):
        await until(lambda: task.id in world.gateway.deltas, "the delta")
    assert world.gateway.deltas[task.id] == undisturbed(world.home.folder)


async def test_a_corrupted_journal_is_told_and_healed(world: World) -> None:
    """Begun afresh: the epoch jumps past what the control plane knows, the task comes back by Sync."""
    task = offered(world.gateway, world.home.folder)
    world.gateway.open(task)
    async with AgentProcess(world.file, {"HEADWATER_CRASH_AT": "agent.spooled"}) as agent:
        await agent.ended()
    for name in ("journal.db", "journal.db-wal"):
        spoil(world.home.state / name)
    world.gateway.epoch = 7
    async with AgentProcess(world.file) as agent:
        await until(lambda: task.id in world.gateway.deltas, "the delta")
        await until(lambda: world.ear.presences[-1].epoch == 8, "the jump")
        assert "set aside as journal.db.corrupt-1" in agent.log
        assert f"deleted {task.id}.delta" in agent.log


async def test_a_withdrawn_training_is_stopped(world: World) -> None:
    """The worker is killed in the middle, and the next task begins."""
    long = offered(world.gateway, world.home.folder)
    long = replace(long, plan=replace(long.plan, epochs=100_000_000))
    world.gateway.open(long)
    async with AgentProcess(world.file):
        await until(lambda: any(p.steps for b in world.ear.beats for p in b.progress) or ring(world), "its steps")
        world.gateway.close(long.id)
        await world.ear.cancel(DEVICE, world.gateway.revision, long.id)
        short = replace(long, id=TaskId("task-2"), plan=replace(long.plan, epochs=1))
        world.gateway.open(short)
        await world.ear.assign(world.gateway.revision, short)
        await until(lambda: short.id in world.gateway.deltas, "the next task's delta")
    assert not world.gateway.reports


def ring(world: World) -> bool:
    """Let time pass; heartbeats are paced by `heartbeat_s`."""
    world.gateway.heartbeat_s = 1
    return False


async def test_a_control_plane_away_is_waited_for(world: World) -> None:
    """The delta lies in the spool until there is somebody to take it."""
    task = offered(world.gateway, world.home.folder)
    world.gateway.open(task)
    world.gateway.faults.extend([("UploadDelta", refusing(grpc.StatusCode.UNAVAILABLE))] * 3)
    world.gateway.faults.append(("chunk", refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_ms=50)))
    async with AgentProcess(world.file):
        await until(lambda: task.id in world.gateway.deltas, "the delta")
    assert world.gateway.calls["UploadDelta"] == 5


async def test_bad_data_on_the_box_is_told(world: World) -> None:
    """In the registration, and as the reason of a rejection."""
    (world.home.folder / "numbers.npz").write_bytes(b"no zip")
    async with AgentProcess(world.file):
        await until(lambda: any(h.datasets[0].problem != NOT_YET for h in world.ear.hellos), "the registration")
        task = offered(world.gateway, world.home.folder)
        world.gateway.open(task)
        await world.ear.assign(world.gateway.revision, task)
        await until(lambda: world.gateway.reports, "the rejection")
        assert isinstance(world.gateway.reports[0].outcome, Rejected)
        assert "can't be used" in world.gateway.reports[0].outcome.reason


async def test_new_data_is_seen_after_sighup(world: World) -> None:
    """The registration is published again, with the new count; unchanged data is not even opened."""
    async with AgentProcess(world.file) as agent:
        await until(lambda: world.ear.hellos and world.ear.hellos[-1].datasets[0].examples == 10, "the first count")
        more_examples(world.home.folder)
        agent.send(signal.SIGHUP)
        await until(lambda: world.ear.hellos[-1].datasets[0].examples == 12, "the second count")
        agent.send(signal.SIGTERM)
        await agent.ended()
    async with AgentProcess(world.file) as agent:
        await until(lambda: world.ear.hellos[-1].epoch == 2, "the registration of the second life")
        assert world.ear.hellos[-1].datasets[0].examples == 12
        assert "worker" not in agent.log


async def test_the_will_of_a_killed_agent_is_told(world: World) -> None:
    """By the broker, after its delay, with the dead connection's epoch."""
    async with AgentProcess(world.file) as agent:
        await until(lambda: world.ear.beats, "the connection")
        agent.send(signal.SIGKILL)
        await until(lambda: any(not p.online for p in world.ear.presences), "the will")
    assert [(p.online, p.epoch, p.seq) for p in world.ear.presences] == [(True, 1, 1), (False, 1, 2)]


async def test_two_agents_cannot_share_a_home(world: World) -> None:
    """The second one says so and ends."""
    async with AgentProcess(world.file) as first:
        await until(lambda: world.ear.presences, "the first one's birth")
        async with AgentProcess(world.file) as second:
            assert await second.ended() == 1
            assert "another agent uses" in second.log
        first.send(signal.SIGINT)
        assert await first.ended(5.0) == 0


async def test_a_training_waits_until_its_conditions_are_met_again(world: World) -> None:
    """A person pauses the box: its worker leaves a checkpoint, and the control plane hears why nothing moves.

    Killed meanwhile, it comes back paused; then the training goes on, and when it is withdrawn its checkpoints go too.
    """
    task = offered(world.gateway, world.home.folder)
    world.gateway.open(replace(task, plan=replace(task.plan, epochs=100_000_000)))
    world.file.write_text(f"{world.file.read_text()}\n[conditions]\nevery_s = 0.1\n")
    lock, kept = MaintenanceFile(world.home.state), world.home.state / "work" / f"{task.id}.checkpoints"
    why = "the device: paused on the box until `headwater-agent resume` (a new disk)"

    def shown() -> list[str]:
        return [line.waiting_for for line in world.ear.beats[-1].progress] if world.ear.beats else []

    async with AgentProcess(world.file) as agent:
        await until(lambda: "is up" in agent.log and trains(world), "its steps")
        lock.write(Lock(Instant(0), None, "a new disk"))
        await until(lambda: shown() == [why], "the reason")
        await until(lambda: [path.name for path in kept.glob("*")] == ["0"], "the checkpoint its worker leaves")
        await until(lambda: fleet.UNMET in {c.state for c in world.ear.hellos[-1].conditions}, "the registration")
        agent.send(signal.SIGKILL)
        await agent.ended()
    world.ear.beats.clear()
    async with AgentProcess(world.file) as agent:
        await until(lambda: shown() == [why], "the reason, told again")
        assert "worker" not in agent.log and kept.exists()
        lock.write(None)
        await until(lambda: "worker" in agent.log and "may train again" in agent.log, "the training")
        assert kept.exists()
        world.gateway.close(task.id)
        await world.ear.cancel(DEVICE, world.gateway.revision, task.id)
        await until(lambda: not kept.exists(), "the end of its checkpoints")


async def test_stopping_in_mid_training_is_quick_and_no_attempt(world: World) -> None:
    """Five seconds at most, the child included, which leaves a checkpoint."""
    task = offered(world.gateway, world.home.folder)
    world.gateway.open(replace(task, plan=replace(task.plan, epochs=100_000_000)))
    async with AgentProcess(world.file) as agent:
        await until(lambda: "accepted" in agent.log and "worker" in agent.log, "the training")
        await until(lambda: trains(world), "its steps")
        agent.send(signal.SIGTERM)
        assert await agent.ended(5.0) == 0
    async with open_journal(world.home.state / "journal.db") as journal:
        session = await journal.load(Box(DEVICE))
    assert (session.held[0].stage, session.held[0].tries) == (Stage.ACCEPTED, 0)
    assert [path.name for path in (world.home.state / "work" / f"{task.id}.checkpoints").iterdir()] == ["0"]


# ── a person on the box ────────────────────────────────────────────────────────────────────────────────────────


def told(world: World) -> dict[str, Any]:
    """Ask the running agent how it goes."""
    status: dict[str, Any] = ask(world.home.state, {"ask": "status"})
    return status


def trains(world: World) -> bool:
    """Say whether a training takes steps that a checkpoint can be of: it loads in the first, and scores in the next."""
    return any(task["step"] > 2 for task in told(world)["tasks"])


async def test_a_pause_outlives_the_agent_and_puts_a_training_off(world: World) -> None:
    """One from before the start holds; resumed, the task is trained; paused anew, it is put off. The console tells."""
    long = offered(world.gateway, world.home.folder)
    world.gateway.open(replace(long, plan=replace(long.plan, epochs=100_000_000)))
    world.home.state.mkdir(exist_ok=True)
    MaintenanceFile(world.home.state).write(Lock(Instant(0), None, "new fan"))
    told_only = {"HEADWATER_CONDITIONS__EVERY_S": "3600"}
    async with AgentProcess(world.file, told_only) as agent:
        await until(lambda: "is up" in agent.log and told(world)["tasks"], "the task")
        status = told(world)
        assert [task["phase"] for task in status["tasks"]] == ["accepted"]
        assert "(new fan)" in status["waiting"] == status["idle"]
        assert status["reach"]["synced_s"] is not None
        assert "(new fan)" in ask(world.home.state, {"ask": "resume"})["was"]
        await until(lambda: told(world)["tasks"][0]["steps"], "its steps")
        assert told(world)["idle"] == ""
        assert ask(world.home.state, {"ask": "pause", "for_s": 3600})["paused"]
        await until(lambda: told(world)["tasks"][0]["phase"] == "accepted", "the training to be put off")
    assert not world.gateway.reports


def folders_empty(state: Path, *names: str) -> bool:
    """Say whether nothing lies in these folders."""
    return not any(list((state / name).iterdir()) for name in names)


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def spoil(path: Path) -> None:
    """Make a file unreadable as what it was."""
    path.write_bytes(b"?" * 5000)


def more_examples(folder: Path) -> None:
    """Write twelve examples where there were ten."""
    write_examples(folder, 12)
