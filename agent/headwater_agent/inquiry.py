"""`headwater-agent status | spool | pause | resume`: asks the running agent, or looks at what lies on the disk."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headwater_agent.clerk import LONGEST_S, lock_of, short
from headwater_agent.config import Config
from headwater_agent.core.maintenance import objection
from headwater_agent.edges.console import Hangs, NobodyThere, ask
from headwater_agent.edges.maintenance import MaintenanceFile, instant

_SPAN = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)(?P<unit>[smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_STOPPED = "no agent runs here: `headwater-agent run`, or systemctl start headwater-agent"


def answered(config: Config, options: argparse.Namespace) -> int:
    """Do what a command line asks for; give the exit code. Raise `AgentError`, ValueError or OSError."""
    match options.inquiry:
        case "status":
            return status(config, as_json=options.json)
        case "spool":
            return spool(config, as_json=options.json)
        case "pause":
            for_s = span_s(options.span) if options.span is not None else None
            return pause(config, for_s=for_s, reason=options.reason, as_json=options.json)
        case _:
            return resume(config, as_json=options.json)


def status(config: Config, *, as_json: bool) -> int:
    """Show what the agent is doing; 1 if none runs."""
    state = config.agent.state_dir
    try:
        told = {"running": True, **ask(state, {"ask": "status"})}
    except NobodyThere:
        told = {"running": False, "paused": _paused(state), "spool_files": len(_files(state))}
    _show(told, _stopped if not told["running"] else _running, as_json=as_json)
    return 0 if told["running"] else 1


def spool(config: Config, *, as_json: bool) -> int:
    """Show what waits to be uploaded. What no agent tells of is named by its file."""
    state = config.agent.state_dir
    try:
        told = ask(state, {"ask": "spool"})
    except NobodyThere:
        told = {"spool": [{"task": path.stem, "size_bytes": path.stat().st_size} for path in _files(state)]}
    _show(told, _spooled, as_json=as_json)
    return 0


def pause(config: Config, *, for_s: float | None, reason: str, as_json: bool) -> int:
    """Have nothing trained, for a time or until it is resumed; also if no agent runs now."""
    request = {"ask": "pause", "for_s": for_s, "reason": short(reason)}

    def alone() -> dict[str, Any]:
        lock = lock_of(request, now=instant())
        MaintenanceFile(config.agent.state_dir).write(lock)
        return {"paused": objection(lock, now=instant())}

    _show(_asked(config, request, alone), lambda told: iter([told["paused"]]), as_json=as_json)
    return 0


def resume(config: Config, *, as_json: bool) -> int:
    """End a pause; also if no agent runs now."""

    def alone() -> dict[str, Any]:
        was = _paused(config.agent.state_dir)
        MaintenanceFile(config.agent.state_dir).write(None)
        return {"was": was}

    def words(told: dict[str, Any]) -> Iterator[str]:
        yield f"resumed; it was {told['was']}" if told["was"] else "it was not paused"

    _show(_asked(config, {"ask": "resume"}, alone), words, as_json=as_json)
    return 0


def span_s(text: str) -> float:
    """Read "90m", "2h" or "1.5d"; raise ValueError."""
    read = _SPAN.fullmatch(text)
    seconds = float(read["number"]) * _UNIT_S[read["unit"]] if read else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"{text!r} is no time such as 30s, 90m, 2h or 1.5d, of a year at most")
    return seconds


def _asked(config: Config, request: dict[str, Any], alone: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        told: dict[str, Any] = ask(config.agent.state_dir, request)
    except NobodyThere:
        told = alone()
    except Hangs as error:
        what = f"the {request['ask']} may still take effect once it goes on"
        raise Hangs(f"{error}; {what}: see headwater-agent status, or restart it") from error
    return told


def _show(told: dict[str, Any], words: Callable[[dict[str, Any]], Iterator[str]], *, as_json: bool) -> None:
    if as_json:
        json.dump(told, sys.stdout, indent=2)
        print()
        return
    for line in words(told):
        print(line)


def _running(told: dict[str, Any]) -> Iterator[str]:
    reach = told["reach"]
    ends = told["certificate_ends"]
    yield f"{told['device']} runs: headwater {told['version']}, process {told['pid']}"
    yield f"identity   {_certificate(ends)}" if ends else "identity   none (control_plane.insecure)"
    yield f"broker     {reach['broker']}, {'connected' if reach['connected'] else 'not connected'}"
    synced = "not synced since the start" if reach["synced_s"] is None else f"synced {_ago(reach['synced_s'])}"
    yield f"gateway    {reach['gateway']}, {synced}, revision {told['revision']}"
    for task in told["tasks"]:
        yield f"task       {_task(task)}"
    for delta in told["spooled"]:
        yield f"delta      {_delta(delta)}"
    for install in told["installed"]:
        yield f"model      {install['version']} {install['state']}"
    if told["waiting"]:
        yield f"waits      {told['waiting']}"
    if told["idle"] and told["idle"] != told["waiting"]:
        yield f"idle       {told['idle']}"


def _stopped(told: dict[str, Any]) -> Iterator[str]:
    yield _STOPPED
    if told["paused"]:
        yield f"waits      {told['paused']}"
    if told["spool_files"]:
        yield f"deltas     {told['spool_files']} wait to be uploaded: headwater-agent spool"


def _spooled(told: dict[str, Any]) -> Iterator[str]:
    for delta in told["spool"]:
        yield _delta(delta)
    if not told["spool"]:
        yield "nothing waits to be uploaded"


def _task(task: dict[str, Any]) -> str:
    at = f" step {task['step']} of {task['steps']}" if task["steps"] else ""
    loss = f", loss {task['loss']:.4g}" if task["steps"] and task["loss"] else ""
    waits = f"; waits for {task['waiting_for']}" if task["waiting_for"] else ""
    return f"{task['task']}: {task['phase']}{at}{loss}, {task['dataset']} on {task['base_version']}{waits}"


def _delta(delta: dict[str, Any]) -> str:
    told = f"{delta['task']}: {delta['size_bytes'] / 1e6:.3f} MB"
    if "base_version" not in delta:
        return told
    told += f", {delta['dataset']} on {delta['base_version']}"
    if delta["sent_bytes"]:
        told += f", {delta['sent_bytes'] / 1e6:.3f} MB sent"
    if delta["waiting_for"]:
        told += f"; waits for {delta['waiting_for']}"
    return told + ("; its deadline has passed, so the control plane will call it too late" if delta["too_late"] else "")


def _certificate(ends: str) -> str:
    until = datetime.fromisoformat(ends)
    return f"certificate until {until:%Y-%m-%d}, {(until - datetime.now(UTC)).days} days"


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _paused(state: Path) -> str:
    return objection(MaintenanceFile(state).read(), now=instant())


def _files(state: Path) -> list[Path]:
    return sorted((state / "spool").glob("*.delta"))
