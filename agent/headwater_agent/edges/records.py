"""The journal's records: a session as named pieces of JSON, and back."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from headwater_wire.messages import (
    Blob,
    Column,
    DatasetCard,
    Deployment,
    DeploymentReport,
    Evaluated,
    Failed,
    Metrics,
    Plan,
    Rejected,
    Task,
    TaskReport,
)

from headwater_agent.core.session import (
    Box,
    Denied,
    Dropped,
    Finished,
    Held,
    Install,
    InstallState,
    Seen,
    Sent,
    ServerTime,
    Session,
    Stage,
)
from headwater_agent.ports import Survey

_OUTCOMES: dict[str, type[Failed] | type[Rejected]] = {"Failed": Failed, "Rejected": Rejected}


def dump(session: Session) -> dict[str, bytes]:
    """Take a session apart, so that what has not changed need not be written again."""
    pieces: dict[str, Any] = {
        "state": {
            "revision": session.revision,
            "seen": session.seen,
            "server_ms": session.time.server_ms,
            "heartbeat_s": session.heartbeat_s,
        }
    }
    pieces |= {f"held/{held.task.id}": asdict(held) for held in session.held}
    pieces |= {f"finished/{item.task}": asdict(item) for item in session.finished}
    pieces |= {f"report/{report.task}": _report_tree(report) for report in session.reports}
    pieces |= {f"install/{install.model}": asdict(install) for install in session.installs}
    pieces |= {f"installed/{r.model}/{r.generation}": asdict(r) for r in session.install_reports}
    pieces |= {f"denied/{item.key}": asdict(item) for item in session.denied}
    pieces |= {f"trained/{seen.dataset}": asdict(seen) for seen in session.trained}
    if session.sent != Sent():
        pieces["sent"] = asdict(session.sent)
    if session.dropped != Dropped():
        pieces["dropped"] = asdict(session.dropped)
    return {key: encode(tree) for key, tree in pieces.items()}


def load(rows: Mapping[str, bytes], box: Box) -> tuple[Session, tuple[str, ...]]:
    """Put a session together again; name the records that make no sense, which are left out."""
    session = Session(box=box)
    found: dict[str, list[Any]] = {kind: [] for kind in _LOADERS}
    unreadable = []
    for key, body in sorted(rows.items()):
        kind = key.partition("/")[0]
        try:
            tree = json.loads(body)
            if kind == "state":
                session = replace(
                    session,
                    revision=int(tree["revision"]),
                    seen=int(tree["seen"]),
                    time=ServerTime(int(tree["server_ms"])),
                    heartbeat_s=int(tree["heartbeat_s"]),
                )
            elif kind == "dropped":
                session = replace(session, dropped=Dropped(int(tree["deltas"]), int(tree["size"])))
            elif kind == "sent":
                session = replace(session, sent=Sent(int(tree["day"]), int(tree["size"])))
            elif kind in _LOADERS:
                found[kind].append(_LOADERS[kind](tree))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            unreadable.append(key)
    session = replace(
        session,
        held=tuple(sorted(found["held"], key=lambda held: held.number)),
        finished=tuple(sorted(found["finished"], key=lambda item: item.deadline_ms)),
        reports=tuple(found["report"]),
        installs=tuple(found["install"]),
        install_reports=tuple(found["installed"]),
        denied=tuple(found["denied"]),
        trained=tuple(found["trained"]),
    )
    return session, tuple(unreadable)


def dump_survey(survey: Survey) -> bytes:
    """Encode what an inspection found, or, so that an older release looks for itself, that it has only begun."""
    tree = asdict(survey)
    return encode({"begun": tree} if survey.tries else tree)


def load_survey(body: bytes) -> Survey:
    """Decode; raise ValueError if it is none."""
    try:
        tree = json.loads(body)
        tree = tree.get("begun", tree)
        card = tree["card"]
        columns = tuple(Column(c["name"], c["dtype"], tuple(c["shape"])) for c in card.pop("columns"))
        return Survey(tree["fingerprint"], DatasetCard(**card, columns=columns), int(tree.get("tries", 0)))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a survey: {body[:80]!r}") from error


def encode(tree: Any) -> bytes:
    """Serialize, the same bytes for the same content."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def _held(tree: dict[str, Any]) -> Held:
    task = tree["task"]
    return Held(
        **{
            **tree,
            "task": Task(
                **{
                    **task,
                    "bundle": Blob(**task["bundle"]),
                    "base": Blob(**task["base"]),
                    "plan": Plan(**task["plan"]),
                    "labels": tuple((key, value) for key, value in task.get("labels", ())),
                }
            ),
            "number": int(tree["number"]),
            "attempts": int(tree["attempts"]),
            "stage": Stage(tree["stage"]),
            "delta": Blob(**tree["delta"]) if tree["delta"] else None,
            "metrics": Metrics(**tree["metrics"]) if tree["metrics"] else None,
        }
    )


def _install(tree: dict[str, Any]) -> Install:
    wanted = tree["deployment"]
    deployment = Deployment(**{**wanted, "onnx": Blob(**wanted["onnx"]), "reference": Blob(**wanted["reference"])})
    return Install(deployment, InstallState(tree["state"]), int(tree.get("attempts", 0)))


def _report_tree(report: TaskReport) -> dict[str, Any]:
    return {"task": report.task, "kind": type(report.outcome).__name__, **asdict(report.outcome)}


def _report(tree: dict[str, Any]) -> TaskReport:
    if tree["kind"] == "Evaluated":
        return TaskReport(tree["task"], Evaluated(Metrics(**tree["metrics"])))
    return TaskReport(tree["task"], _OUTCOMES[tree["kind"]](tree["reason"]))


_LOADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "held": _held,
    "finished": lambda tree: Finished(**{**tree, "deadline_ms": int(tree["deadline_ms"])}),
    "report": _report,
    "install": _install,
    "installed": lambda tree: DeploymentReport(**tree),
    "trained": lambda tree: Seen(str(tree["dataset"]), int(tree["examples"])),
    "denied": lambda tree: Denied(**tree),
}
