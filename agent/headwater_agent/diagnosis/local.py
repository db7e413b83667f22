"""Checks of what lies on this box."""

import asyncio
import json
import os
import pwd
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from headwater_wire.messages import ConditionState

from headwater_agent.checkup import described
from headwater_agent.core import findings
from headwater_agent.core.conditions import Standing, advance
from headwater_agent.core.findings import Finding, failed, ok, unknown, warning
from headwater_agent.core.maintenance import objection
from headwater_agent.diagnosis import Patient
from headwater_agent.edges import ledger
from headwater_agent.edges.children import warm_worker, worker_command
from headwater_agent.edges.enclosure import enclosure_of
from headwater_agent.edges.maintenance import MaintenanceFile, instant
from headwater_agent.edges.readings import Reader
from headwater_agent.survey import examine
from headwater_agent.training import confinement as confining
from headwater_agent.training.protocol import DatasetConfig
from headwater_agent.watch import BUSY_S, SENSORS_S, SILENT

_OLD_S = 7 * 86_400.0
_READABLE = "see docs/datasets.md; the agent's user must be able to read it"
_SAY_AS = "run this as the agent's user, or as root"


async def agent(patient: Patient) -> Finding:
    """Does one run?"""
    told = patient.running
    if patient.hangs:
        return failed("agent", f"it hangs: {patient.silent}", "systemctl restart headwater-agent")
    if patient.silent:
        return unknown("agent", patient.silent, _SAY_AS)
    if told is None:
        return warning("agent", "none runs here", "systemctl start headwater-agent, or headwater-agent run")
    idle = f"; {told['idle']}" if told["idle"] else ""
    return ok("agent", f"headwater {told['version']} runs as process {told['pid']}{idle}")


async def identity(patient: Patient) -> Finding:
    """Is the box enrolled?"""
    if patient.trouble:
        return failed("identity", patient.trouble, "headwater-agent enroll, with a line of `headwater device invite`")
    if patient.identity is None:
        return warning("identity", "none: control_plane.insecure is set", "for trying things on one machine only")
    return ok("identity", f"enrolled as {patient.identity.device}")


async def certificate(patient: Patient) -> Finding:
    """Does the certificate hold, by this box's clock?"""
    if patient.identity is None:
        return unknown("certificate", "there is none", "see identity")
    return findings.certificate(patient.identity.begins, patient.identity.ends, datetime.now(UTC))


async def journal(patient: Patient) -> Finding:
    """Is every record of the journal what was written?"""
    path = patient.config.agent.state_dir / "journal.db"
    if not path.exists():
        return ok("journal", "none yet: it begins with the agent's first start")
    rows, problems = await asyncio.to_thread(ledger.inspect, path)
    if problems:
        return failed(
            "journal", "; ".join(problems),
            "restart the agent: it sets the file aside, and the control plane tells it again what was lost",
        )  # fmt: skip
    spoiled = sorted(found.name for found in path.parent.glob("journal.db.corrupt-*"))
    if spoiled:
        return warning(
            "journal", f"{len(rows)} sound records; {', '.join(spoiled)} was found damaged and set aside",
            "is the disk failing? (dmesg, smartctl). The file may be deleted",
        )  # fmt: skip
    return ok("journal", f"{len(rows)} sound records")


async def spool(patient: Patient) -> Finding:
    """Does anything wait to be uploaded?"""
    folder = patient.config.agent.state_dir / "spool"
    files = [path.stat() for path in folder.glob("*.delta")] if folder.is_dir() else []
    if not files:
        return ok("spool", "nothing waits to be uploaded")
    size_mb = sum(file.st_size for file in files) / 1e6
    age_s = datetime.now(UTC).timestamp() - min(file.st_mtime for file in files)
    told = f"{len(files)} deltas wait to be uploaded, {size_mb:.1f} MB, the oldest for {findings.span(max(0.0, age_s))}"
    if age_s > _OLD_S:
        return warning("spool", told, "is the control plane reached? See gateway; headwater-agent spool")
    return ok("spool", told)


async def disk(patient: Patient) -> Finding:
    """Is there room, and may we write?"""
    state = patient.config.agent.state_dir
    wanted_mb = patient.config.conditions.wanted.min_free_mb
    try:
        told = await asyncio.to_thread(os.statvfs, state)
    except OSError:
        return warning("disk", f"{state} is not there yet", "the agent makes it when it starts, if it may")
    if foreign := await asyncio.to_thread(_foreign, state):
        return failed("disk", foreign, f"chown -R --no-dereference --reference={state} {state}")
    return findings.disk(
        told.f_bavail * told.f_frsize,
        wanted_mb,
        read_only=bool(told.f_flag & os.ST_RDONLY),
        free_files=told.f_favail if told.f_files else None,  # btrfs counts none
    )


async def confinement(patient: Patient) -> Finding:
    """Can the kernel lock the training child in?"""
    mode = patient.config.training.confinement
    missing = ", ".join(confining.lacking())
    if mode == "off":
        return warning("confinement", "off, by training.confinement", 'set it to "preferred" where a GPU is not needed')
    if not missing:
        return ok("confinement", "the kernel has all of it: Landlock, seccomp")
    advice = "Linux 6.12 has all; a container or SystemCallFilter= must let seccomp and landlock_* through"
    if mode == "required":
        return failed("confinement", f"the kernel lacks {missing}: no task is taken (training.confinement)", advice)
    return warning("confinement", f"the kernel lacks {missing}: it trains without", advice)


async def conditions(patient: Patient) -> Finding:
    """May the box train now?"""
    if patient.running is not None:  # it has seen what was lost before, and how busy the box has been
        return _judged(patient.running["waiting"], "it may train now, says the agent that runs here")
    told = patient.config.conditions
    state = patient.config.agent.state_dir

    reader = Reader(state, told.metered, told.zone)
    if told.wanted.max_cpu_busy or told.wanted.require != ():
        await asyncio.sleep(BUSY_S)
    try:
        async with asyncio.timeout(SENSORS_S):
            readings = await asyncio.to_thread(reader.read)
    except TimeoutError:
        return _judged(SILENT, "")
    readings = replace(readings, maintenance=objection(MaintenanceFile(state).read(), now=instant()))
    standing = advance(Standing(), told.wanted, readings, 0.0)
    dark = [condition.name for condition in standing.conditions if condition.state is ConditionState.UNKNOWN]
    return _judged(standing.waiting, f"it may train now; not to be told here: {', '.join(dark) or 'nothing'}")


def _judged(waiting: str, fine: str) -> Finding:
    if not waiting:
        return ok("conditions", fine)
    return warning(
        "conditions",
        f"it trains nothing now: {waiting}",
        "it goes on by itself once that is over; a pause ends with headwater-agent resume",
    )


async def engine(patient: Patient) -> Finding:
    """Can the engine be loaded, and what does it run on?"""
    name = patient.config.training.engine
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "headwater_agent.training.providers", name,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    advice = f"install it again: pip install 'headwater[{'native' if name == 'native' else 'agent'}]'"
    try:
        told = json.loads(out)
    except ValueError:
        return failed("engine", f"loading {name} ended the process ({process.returncode})", advice)
    if told["problem"]:
        return failed("engine", f"{name} can't be loaded: {told['problem']}", advice)
    return ok("engine", f"{name} on ONNX Runtime {told['runtime']}: {', '.join(told['providers'])}")


async def dataset(patient: Patient, config: DatasetConfig) -> Finding:
    """Can it be read, by the agent's user above all, and what does it hold?"""
    name, how = f"dataset {config.name}", patient.config.training
    if problem := _found_by_agent(patient, config.name):
        return failed(name, f"the agent that runs here can't use it: {problem}", _READABLE)
    async with warm_worker(
        worker_command(how.engine, how.memory), idle_s=0.0, nice=19, enclosure=enclosure_of(patient.config)
    ) as worker:
        card = await examine(worker, config)
    told = described(card).removeprefix(name).lstrip(": ")
    if card.problem:
        return failed(name, told, _READABLE)
    if patient.running is None and (owner := _another_user(patient.config.agent.state_dir)):
        return unknown(
            name,
            f"{told}; read as {_user(os.geteuid())}, so whether the agent's user ({owner}) may is not known",
            "start the agent and look again, or run this as the agent's user: headwater-agent check-config",
        )
    return ok(name, told)


def _found_by_agent(patient: Patient, dataset: str) -> str:
    """Say what the running agent found wrong with a dataset; nothing, if nothing is or no agent tells."""
    found = (patient.running or {}).get("datasets", ())  # an older agent says nothing of them
    return next((str(data["problem"]) for data in found if data["name"] == dataset), "")


def _foreign(state: Path) -> str:
    """Say what in the agent's folder is not its user's, who may be unable to use it; nothing, if all is."""
    owner = _owner(state)
    first = [path for path in _listed(state) if path.name != "lost+found"]  # where it is a file system of its own
    inside = [path for each in first for path in (each, *_listed(each))]
    foreign = [path for path in inside if _owner(path) not in (owner, None)]
    if not foreign:
        return ""
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    whose = f"{foreign[0]} belongs to {_user(_owner(foreign[0]) or 0)}{more}"
    return f"{whose}, while {state} is {_user(owner or 0)}'s: was the agent once run as another user?"


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # no folder, or gone since
        return []


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def _another_user(state: Path) -> str:
    """Name the agent's user, who owns its folder, if that is not who asks."""
    try:
        owner = state.stat().st_uid
    except OSError:  # no agent has been here yet
        return ""
    return "" if owner == os.geteuid() else _user(owner)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a dynamic user of systemd's has no name while it does not run
        return str(uid)
