"""A session that has something of everything that a journal keeps."""

from dataclasses import replace

from headwater_agent.core import events as on
from headwater_agent.core.machine import step
from headwater_agent.core.session import Denied, Finished, ServerTime, Session
from headwater_wire.ids import TaskId
from headwater_wire.messages import Evaluated, Failed, Metrics, Rejected, TaskReport

from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import BOX, METRICS, delta_of, deployment

T1 = task("t1")


def a_full_session() -> Session:
    """Make a session with something of every kind."""
    session = Session(BOX, time=ServerTime(1))
    for event in (
        on.Assigned(1, T1),
        on.Fetched(T1.id),
        on.Trained(T1.id, 1, delta_of(T1.id), METRICS),
        on.Assigned(2, task("t2")),
        on.DeploymentWanted(3, deployment(1)),
        on.DeploymentWanted(4, deployment(1, "other")),
        on.InstallFailed(deployment(1).model, 1, "other outputs"),
    ):
        session, _ = step(session, event, at_s=0.0)
    return replace(
        session,
        finished=(Finished(TaskId("t0"), 5),),
        reports=(
            TaskReport(TaskId("a"), Failed("it broke")),
            TaskReport(TaskId("b"), Rejected("no such data")),
            TaskReport(TaskId("c"), Evaluated(Metrics(holdout_examples=3, holdout_loss=0.25))),
        ),
        denied=(Denied("a:b", "it kills", 99),),
    )
