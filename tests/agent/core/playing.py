"""Events played to an agent's machine, and sessions that some of them have led to."""

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import step
from headwater_agent.core.session import ServerTime, Session
from headwater_agent.core.telling import sync_request
from headwater_wire.messages import SyncAnswer

from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import BOX, METRICS, delta_of

T1 = task("t1")
EMPTY = Session(BOX, time=ServerTime(1))  # of a box that has synced once


def after(*events: on.Event, session: Session = EMPTY, at_s: float = 0.0) -> tuple[Session, tuple[do.Command, ...]]:
    """Play events; give the session, and what the last one led to."""
    commands: tuple[do.Command, ...] = ()
    for event in events:
        session, commands = step(session, event, at_s=at_s)
    return session, commands


def answer(*tasks: object, revision: int = 1, time_ms: int = 1_000_000, **more: object) -> SyncAnswer:
    """Make an answer of a server that says nothing else."""
    return SyncAnswer(revision, time_ms, 1, False, tasks, (), 30, **more)  # type: ignore[arg-type]


def synced(*tasks: object, revision: int = 1, session: Session = EMPTY, time_ms: int = 1_000_000) -> on.Synced:
    """Make the event of such an answer to what `session` asked."""
    return on.Synced(sync_request(session, epoch=1, hello_hash=""), answer(*tasks, revision=revision, time_ms=time_ms))


TRAINING, _ = after(on.Assigned(1, T1), on.Fetched(T1.id))
SPOOLED, _ = after(on.Trained(T1.id, 1, delta_of(T1.id), METRICS), session=TRAINING)
