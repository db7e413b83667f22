"""The owner's policy along a task's course: when it is accepted, when it begins, and what goes up in a day."""

from dataclasses import replace

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import resume, step
from headwater_agent.core.policy import MB, Floor, Limits, Policy
from headwater_agent.core.session import DAY_MS, Box, DatasetFact, InstallState, Sent, ServerTime, Session
from headwater_wire.messages import Blob, Plan, Rejected, Task
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.agent_bundle import DATASET, DEVICE, task
from tests.fakes.agent_world import METRICS, deployment

FIRST_DAY = ServerTime(20 * DAY_MS)


def box(policy: Policy, examples: int | None = None) -> Session:
    """Make a box of this policy, whose server's time is known."""
    return Session(Box(DEVICE, (DatasetFact(DATASET, "f1", examples=examples),), policy=policy), time=FIRST_DAY)


def sized(name: str, size: int = 4, plan: Plan | None = None) -> Task:
    """Make a task for the next nine days whose delta, as its base, has this size."""
    made = task(name, deadline_ms=FIRST_DAY.server_ms + 9 * DAY_MS, plan=plan)
    return replace(made, base=replace(made.base, size=size))


def play(session: Session, *events: on.Event, at_s: float = 0.0) -> tuple[Session, tuple[do.Command, ...]]:
    """Let things happen; give all that was asked for."""
    issued: tuple[do.Command, ...] = ()
    for event in events:
        session, commands = step(session, event, at_s=at_s)
        issued += commands
    return session, issued


def trained(made: Task) -> tuple[on.Event, ...]:
    """Bring a task as far as its delta."""
    return on.Fetched(made.id), on.Trained(made.id, 1, Blob(made.base.digest, made.base.size), METRICS)


def refusals(session: Session) -> list[str]:
    """Say what was rejected, and why."""
    return [report.outcome.reason for report in session.reports if isinstance(report.outcome, Rejected)]


def test_a_task_outside_is_rejected_before_anything_is_fetched() -> None:
    """With the setting's name, by the next Sync; others go on."""
    session, commands = play(
        box(Policy(general=Limits(max_epochs=3))), on.Assigned(1, sized("t1", plan=Plan(epochs=4)))
    )
    assert commands == (do.Sync(),) and not session.held
    assert "policy.max_epochs is 3, and the task asks for 4" in refusals(session)[0]
    _, commands = play(session, on.Assigned(2, sized("t2", plan=Plan(epochs=3))))
    assert commands == (do.Fetch(sized("t2", plan=Plan(epochs=3))),)


def test_a_dataset_that_turns_out_too_small_rejects_what_waits() -> None:
    """Tasks may be accepted before the dataset was counted."""
    session, _ = play(
        box(Policy(general=Limits(floor=Floor(min_examples=10)))),
        on.Assigned(1, sized("t1")),
        on.Assigned(2, sized("t2")),
    )
    assert len(session.held) == 2
    session, _ = play(
        session, on.Surveyed((DatasetFact(DATASET, "f1", examples=9),)), on.FetchFailed(sized("t1").id, "x")
    )
    assert ["min_examples is 10" in reason for reason in refusals(session)] == [True]
    assert not session.held


def test_a_restart_with_another_policy_rejects_what_it_refuses() -> None:
    """A training that was cut short does not go on: the owner's newest word counts."""
    session, _ = play(
        box(Policy()), on.Assigned(1, sized("t1")), on.Assigned(2, sized("t2")), on.Fetched(sized("t1").id)
    )
    tighter = replace(session, box=replace(session.box, policy=Policy(general=Limits(models=("other",)))))
    session, commands = resume(tighter, at_s=0.0)
    assert not session.held and len(refusals(session)) == 2
    assert not [command for command in commands if isinstance(command, do.Fetch | do.Train)]


@pytest.mark.parametrize(
    ("datasets", "words"),
    [((), "has no dataset 'numbers'"), ((DatasetFact(DATASET, "f2", problem="no such file"),), "no such file")],
)
def test_a_restart_without_the_dataset_rejects_what_needs_it(datasets: tuple[DatasetFact, ...], words: str) -> None:
    """It was removed, renamed, or can't be used any more; what had begun leaves no checkpoints."""
    begun, waiting = sized("t1"), sized("t2")
    session, _ = play(box(Policy()), on.Assigned(1, begun), on.Assigned(2, waiting), on.Fetched(begun.id))
    session, commands = resume(replace(session, box=replace(session.box, datasets=datasets)), at_s=0.0)
    assert not session.held and [words in refusal for refusal in refusals(session)] == [True, True]
    assert do.StopTraining(begun.id) in commands and do.StopTraining(waiting.id) not in commands
    assert not [command for command in commands if isinstance(command, do.Fetch | do.Train)]


def test_what_can_t_be_fetched_any_more_leaves_no_checkpoints() -> None:
    """It had begun in an earlier life."""
    made = sized("t1")
    session, _ = play(box(Policy()), on.Assigned(1, made), on.Fetched(made.id))
    session, _ = resume(session, at_s=0.0)
    assert play(session, on.FetchFailed(made.id, "gone"))[1] == (do.StopTraining(made.id), do.Sync())


def test_a_day_s_megabytes_are_used_up_and_come_back() -> None:
    """What is made and what is coming count; the next day begins anew."""
    a, b, c = (sized(name, 400_000) for name in "abc")
    policy = Policy(mb_up_a_day=1.0)
    session, _ = play(box(policy), on.Assigned(1, a), on.Assigned(2, b), on.Assigned(3, c))
    assert ["policy.mb_up_a_day is 1, and with 0.400 MB of this task it would be 1.200 today" in refusals(session)[0]]
    session, _ = play(session, *trained(a), *trained(b))
    assert session.sent == Sent(20, 800_000)
    session, _ = play(session, on.Assigned(4, sized("d", 200_001)))
    assert len(refusals(session)) == 2
    session, commands = play(session, on.Assigned(5, sized("e", 400_000)), at_s=DAY_MS / 1000)
    assert len(refusals(session)) == 2 and commands == (do.Fetch(sized("e", 400_000)),)


@given(st.lists(st.integers(1, 700_000), min_size=1, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_no_day_sees_more_than_its_megabytes(sizes: list[int], finished: list[bool]) -> None:
    """However tasks come and however many are trained in between; what fits is taken."""
    session, up = box(Policy(mb_up_a_day=1.0)), 0
    for number, (size, train) in enumerate(zip(sizes, finished, strict=False)):
        made = sized(f"t{number}", size)
        coming = sum(held.task.base.size for held in session.held if held.delta is None)
        session, _ = play(session, on.Assigned(number + 1, made))
        assert (session.holding(made.id) is not None) == (up + coming + size <= MB)
        if train:
            for held in [held for held in session.held if held.delta is None]:
                session, _ = play(session, *trained(held.task))
                up += held.task.base.size
    assert session.sent.size == up <= MB


def test_a_model_that_the_owner_does_not_allow_is_not_installed() -> None:
    """Nothing is fetched, the reason is told, and an older install that was under way is abandoned."""
    wanted = deployment(2)
    session, commands = play(box(Policy(general=Limits(models=("other",)))), on.DeploymentWanted(1, wanted))
    assert commands == (do.Sync(),)
    assert [(told.installed, told.generation) for told in session.install_reports] == [(False, 2)]
    assert f"policy.models does not name '{wanted.model}'" in session.install_reports[0].problem
    assert play(session, on.DeploymentWanted(2, wanted))[1] == (), "told once"
    allowed, commands = play(box(Policy(general=Limits(models=(wanted.model,)))), on.DeploymentWanted(1, wanted))
    assert commands == (do.FetchVersion(wanted),)
    stricter = replace(allowed, box=replace(allowed.box, policy=Policy(general=Limits(models=()))))
    newer, commands = play(stricter, on.DeploymentWanted(2, deployment(3)))
    assert commands == (do.AbandonInstall(wanted.model, 2), do.Sync())
    assert [install.state for install in newer.installs] == [InstallState.FAILED]


def test_an_install_that_waits_is_refused_by_another_policy_after_a_restart() -> None:
    """As a task that waits is; without one it goes on."""
    waiting, _ = play(box(Policy()), on.DeploymentWanted(1, deployment(2)))
    assert do.FetchVersion(deployment(2)) in resume(waiting, at_s=0.0)[1]
    stricter = replace(waiting, box=replace(waiting.box, policy=Policy(general=Limits(models=()))))
    session, commands = resume(stricter, at_s=0.0)
    assert not any(isinstance(command, do.FetchVersion) for command in commands) and do.Sync() in commands
    assert session.install_reports[0].problem.startswith("this box's owner does not allow it: policy.models")
