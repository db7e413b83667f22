"""What a session tells the control plane: the Sync request, the lines of a heartbeat."""

from collections.abc import Mapping

from headwater_wire.ids import Digest, TaskId
from headwater_wire.messages import Deployment, HeldTask, Hello, Phase, Progress, SyncRequest
from headwater_wire.plausible import TOLD_AT_ONCE

from headwater_agent.core.session import Held, Session, Stage

_PHASES = {
    Stage.ACCEPTED: Phase.ACCEPTED,
    Stage.FETCHING: Phase.FETCHING,
    Stage.TRAINING: Phase.TRAINING,
    Stage.SPOOLED: Phase.SPOOLED,
}


def sync_request(session: Session, *, epoch: int, hello_hash: str, hello: Hello | None = None) -> SyncRequest:
    """Say what is held and what is to report, and who we are as long as that is not known to be known.

    What is too much for one Sync, the next one tells.
    """
    return SyncRequest(
        device=session.box.device,
        epoch=epoch,
        revision=session.revision,
        hello_hash=hello_hash,
        held=tuple(HeldTask(held.task.id, _PHASES[held.stage]) for held in session.held[:TOLD_AT_ONCE]),
        reports=session.reports[:TOLD_AT_ONCE],
        deployments=session.install_reports[:TOLD_AT_ONCE],
        hello=hello,
    )


def progress(session: Session, live: Mapping[TaskId, Progress]) -> tuple[Progress, ...]:
    """Say how far each held task is: as `live` tells it, where it tells more than the session."""
    return tuple(live.get(held.task.id) or _progress(session, held) for held in session.held)


def _progress(session: Session, held: Held) -> Progress:
    waiting = f"the device: {session.box.waiting}"[:200] if session.box.waiting and held.stage is Stage.ACCEPTED else ""
    return Progress(held.task.id, _PHASES[held.stage], waiting_for=waiting)


def needed(session: Session, ended: Deployment | None = None) -> frozenset[Digest]:
    """Name the blobs that held tasks and wanted installs refer to, but for an install that has just ended."""
    tasks = [held.task for held in session.held if held.stage is not Stage.SPOOLED]
    wanted = [install.deployment for install in session.installs if install.open]
    wanted = [deployment for deployment in wanted if deployment != ended]
    return frozenset(
        [task.bundle.digest for task in tasks]
        + [task.base.digest for task in tasks]
        + [deployment.onnx.digest for deployment in wanted]
        + [deployment.reference.digest for deployment in wanted]
    )
