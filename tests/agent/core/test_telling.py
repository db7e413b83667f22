"""What a session tells others: which blobs are still needed, and for what a task waits."""

from dataclasses import replace

from headwater_agent.core import events as on
from headwater_agent.core.machine import step
from headwater_agent.core.session import Held, Session, Stage
from headwater_agent.core.telling import needed, progress
from headwater_wire.ids import TaskId
from headwater_wire.messages import Phase, Progress

from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import BOX, deployment


def test_an_install_that_has_ended_needs_nothing_but_its_twin_does() -> None:
    """Before the machine has heard of the end; another model's install may well want the same bytes."""
    session = Session(BOX)
    ended, other = deployment(1), deployment(1, "other")
    twin = replace(deployment(1, "twin"), reference=ended.reference)
    for revision, wanted in enumerate((ended, other), 1):
        session, _ = step(session, on.DeploymentWanted(revision, wanted), at_s=0.0)
    assert needed(session) == {ended.onnx.digest, other.onnx.digest}
    assert needed(session, ended) == {other.onnx.digest}
    session, _ = step(session, on.DeploymentWanted(3, twin), at_s=0.0)
    assert needed(session, ended) >= {ended.reference.digest}


def test_a_task_that_waits_for_the_box_says_for_what() -> None:
    """Where people look, and briefly; one that is being worked on tells that."""
    waiting = replace(BOX, waiting="it is hot " * 40)
    session = Session(waiting, held=(Held(task("t1"), 1), Held(task("t2"), 2, Stage.TRAINING, attempts=1)))
    first, second = progress(session, {})
    assert first.phase is Phase.ACCEPTED and len(first.waiting_for) == 200
    assert first.waiting_for.startswith("the device: it is hot it is hot") and second.waiting_for == ""
    live = Progress(TaskId("t1"), Phase.FETCHING, waiting_for="the control plane: busy")
    assert progress(session, {live.task: live})[0] == live
