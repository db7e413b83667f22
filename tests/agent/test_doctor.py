"""`headwater-agent doctor`: each check finds what it is there for, in time, and disturbs nobody."""

import asyncio
import io
import json
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from headwater_agent import doctor
from headwater_agent.config import Config, load
from headwater_agent.core.findings import Finding, Health, ok
from headwater_agent.core.maintenance import Instant, lock
from headwater_agent.diagnosis import Patient, local, remote
from headwater_agent.doctor import Check, diagnose
from headwater_agent.edges.console import ask
from headwater_agent.edges.journal import open_journal
from headwater_agent.edges.maintenance import MaintenanceFile
from headwater_agent.edges.readings import Reader

from tests.fakes.agent_bundle import write_examples
from tests.fakes.agent_home import mute

INSECURE = """
[agent]
id = "box-1"
state_dir = "state"
[control_plane]
insecure = true
broker = "mqtt://127.0.0.1:1"
gateway = "127.0.0.1:1"
[training]
engine = "constant"
[datasets.numbers]
format = "npz"
path = "numbers.npz"
columns = { x = { source = "x" }, label = { source = "label", dtype = "int64" } }
"""


def configured(folder: Path, text: str = INSECURE, env: Mapping[str, str] | None = None) -> Config:
    """Configure a box where nothing answers."""
    (folder / "agent.toml").write_text(text)
    (folder / "state").mkdir(exist_ok=True)
    return load(folder / "agent.toml", env or {})


async def patient(folder: Path, env: Mapping[str, str] | None = None) -> Patient:
    """Look at a box for the first time."""
    return await Patient.of(configured(folder, env=env))


def test_a_box_that_reaches_nobody_is_told_all_of_it(tmp_path: Path) -> None:
    """As JSON for programs, by exit code 1; nothing is written to its state_dir."""
    write_examples(tmp_path, 10)
    out = io.StringIO()
    assert diagnose(configured(tmp_path), as_json=True, out=out) == 1
    told = json.loads(out.getvalue())
    health = {check["name"]: check["health"] for check in told["checks"]}
    assert health["broker"] == health["gateway"] == "failed" and told["failed"] == 2
    assert health["agent"] == health["identity"] == "warning"
    assert health["engine"] == health["dataset numbers"] == health["disk"] == health["dns"] == "ok"
    assert "10 examples of x: float32[2]" in told["checks"][-1]["found"]
    assert all(check["advice"] for check in told["checks"] if check["health"] != "ok")
    assert list((tmp_path / "state").iterdir()) == []


def test_a_person_reads_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding each, what to do below it, and a sum; 0 if nothing has failed."""

    async def fine() -> Finding:
        return ok("one", "it is fine")

    async def broken() -> Finding:
        raise RuntimeError("a bug in a check")

    monkeypatch.setattr(doctor, "checks", lambda patient: [Check("one", fine), Check("two", broken)])
    out = io.StringIO()
    assert diagnose(configured(tmp_path), as_json=False, out=out) == 0
    lines = out.getvalue().splitlines()
    assert lines[0] == "ok       one          it is fine"
    assert lines[1] == "unknown  two          it could not be looked at: RuntimeError: a bug in a check"
    assert "→" in lines[2] and lines[3] == "1 ok, 1 unknown"


async def test_a_check_that_hangs_is_given_up_and_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line of progress comes before its end; the others are not held up."""
    heard: list[str] = []

    async def hangs() -> Finding:
        await asyncio.Event().wait()
        raise AssertionError("never")

    monkeypatch.setattr(doctor, "_QUIET_S", 0.01)
    monkeypatch.setattr(doctor, "checks", lambda patient: [Check("dns", hangs, 0.05)])
    found = await doctor.examine(configured(tmp_path), lambda finding: heard.append(finding.found), heard.append)
    assert [finding.health for finding in found] == [Health.UNKNOWN]
    assert heard == ["… dns: at most 0 s", "no answer within 0 s"]


async def test_a_journal_is_read_while_it_is_written(tmp_path: Path) -> None:
    """Nothing of it is changed; a flipped record is named, and so is one that was set aside before."""
    path = tmp_path / "state" / "journal.db"
    assert (await local.journal(await patient(tmp_path))).health is Health.OK
    async with open_journal(path) as journal:
        await journal.next_epoch()
        found = await local.journal(await patient(tmp_path))
        assert (found.health, found.found) == (Health.OK, "1 sound records")
        await journal.next_epoch()
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert (await local.journal(await patient(tmp_path))).health is Health.OK
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    (path.parent / "journal.db.corrupt-1").touch()
    found = await local.journal(await patient(tmp_path))
    assert found.health is Health.WARNING and "journal.db.corrupt-1" in found.found
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entry SET body = '7' WHERE key = 'epoch'")
    connection.close()
    found = await local.journal(await patient(tmp_path))
    assert found.health is Health.FAILED and "'epoch' is damaged" in found.found
    path.write_bytes(b"?" * 5000)
    assert (await local.journal(await patient(tmp_path))).health is Health.FAILED


async def test_a_spool_that_nobody_empties_is_told(tmp_path: Path) -> None:
    """After a week."""
    subject = await patient(tmp_path)
    assert (await local.spool(subject)).health is Health.OK
    delta = tmp_path / "state" / "spool" / "t1.delta"
    delta.parent.mkdir()
    delta.write_bytes(bytes(1000))
    assert (await local.spool(subject)).health is Health.OK
    os.utime(delta, (0, 0))
    assert (await local.spool(subject)).health is Health.WARNING


async def test_files_of_another_user_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an agent that somebody ran as root once: as its own user it does not start any more."""
    subject = await patient(tmp_path)
    state = tmp_path / "state"
    (state / "spool").mkdir(parents=True, exist_ok=True)
    (state / "spool" / "t1.delta").touch()
    (state / "journal.db").touch()
    (state / "lost+found").mkdir()
    monkeypatch.setattr(local, "_owner", lambda path: 0 if path.name == "lost+found" else 61_999)
    assert (await local.disk(subject)).health is Health.OK
    monkeypatch.setattr(local, "_owner", lambda path: 0 if path.suffix == ".delta" else 61_999)
    found = await local.disk(subject)
    assert found.health is Health.FAILED and f"{state / 'spool' / 't1.delta'} belongs to root, while" in found.found
    assert "61999's: was the agent once run as another user?" in found.found and "chown -R" in found.advice
    monkeypatch.setattr(local, "_owner", lambda path: 61_999 if path == state else 0)
    assert " and " in (await local.disk(subject)).found


async def test_a_pause_is_a_condition_that_is_not_met(tmp_path: Path) -> None:
    """Whether or not an agent runs."""
    subject = await patient(tmp_path)
    MaintenanceFile(tmp_path / "state").write(lock(now=Instant(0), reason="new fan"))
    found = await local.conditions(subject)
    assert found.health is Health.WARNING and "(new fan)" in found.found


async def test_sensors_that_do_not_answer_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor ends nevertheless: it is asked because something hangs."""
    subject, go_on = await patient(tmp_path), Event()
    monkeypatch.setattr(local, "SENSORS_S", 0.01)
    monkeypatch.setattr(Reader, "read", lambda _: go_on.wait())
    found = await local.conditions(subject)
    go_on.set()
    assert found.health is Health.WARNING and "its sensors do not answer" in found.found


async def test_data_that_cannot_be_used_has_failed(tmp_path: Path) -> None:
    """The file is not there."""
    subject = await patient(tmp_path)
    found = await local.dataset(subject, subject.config.datasets[0])
    assert found.health is Health.FAILED and found.name == "dataset numbers"


async def test_the_running_agent_s_word_counts(tmp_path: Path) -> None:
    """It may not read what root may, and knows what was lost a moment ago; an older one says nothing of its data."""
    write_examples(tmp_path, 10)
    silent = await patient(tmp_path)
    (config,) = silent.config.datasets
    data = {"name": "numbers", "examples": None, "problem": "Permission denied"}
    subject = replace(silent, running={"waiting": "it has 83 °C", "datasets": [data]})
    found = await local.dataset(subject, config)
    assert found.health is Health.FAILED and "Permission denied" in found.found
    found = await local.conditions(subject)
    assert found.health is Health.WARNING and "it has 83 °C" in found.found
    older = replace(silent, running={"waiting": ""})
    assert (await local.dataset(older, config)).health is Health.OK
    assert (await local.conditions(older)).health is Health.OK


async def test_data_read_as_another_user_are_not_said_to_be_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's owner is the agent's user."""
    write_examples(tmp_path, 10)
    subject = await patient(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000)
    found = await local.dataset(subject, subject.config.datasets[0])
    assert found.health is Health.UNKNOWN and "10 examples" in found.found and "read as 4000000" in found.found


async def test_what_is_heavy_is_looked_at_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small box has no memory for many workers; the time of each begins with its turn."""
    at_once, most = 0, 0

    async def heavy() -> Finding:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return ok("data", "read")

    monkeypatch.setattr(doctor, "checks", lambda patient: [Check("data", heavy, heavy=True) for _ in range(5)])
    found = await doctor.examine(configured(tmp_path), lambda finding: None, lambda line: None)
    assert len(found) == 5 and most == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"f_flag": os.ST_RDONLY}, "mounted read-only"),
        ({"f_favail": 0}, "room for 0 more files only"),
        ({"f_favail": 0, "f_files": 0}, ""),  # btrfs: as many as there is room for
        ({}, ""),
    ],
)
async def test_a_disk_that_takes_nothing_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, int], words: str
) -> None:
    """However much of it is free: mounted read-only, as after an error, or full of small files."""
    subject = await patient(tmp_path)
    sound = {"f_bavail": 10**6, "f_frsize": 4096, "f_flag": 0, "f_files": 10**6, "f_favail": 10**6}
    monkeypatch.setattr("os.statvfs", lambda path: SimpleNamespace(**{**sound, **changed}))
    found = await local.disk(subject)
    assert (found.health, bool(found.advice)) == ((Health.FAILED, True) if words else (Health.OK, False))
    assert words in found.found


async def test_an_agent_that_hangs_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was stopped, or whose loop is stuck: it is there, takes the call, and says nothing."""
    config = configured(tmp_path)
    monkeypatch.setattr("headwater_agent.diagnosis.ask", partial(ask, patience_s=0.05))
    with mute(tmp_path / "state"):
        found = await local.agent(await Patient.of(config))
    assert found.health is Health.FAILED and found.found.startswith("it hangs: ")
    assert "systemctl restart headwater-agent" in found.advice


async def test_confinement_counts_as_the_owner_says(tmp_path: Path) -> None:
    """Off is a warning, also where the kernel has all of it."""
    found = await local.confinement(await patient(tmp_path, {"HEADWATER_TRAINING__CONFINEMENT": "off"}))
    assert found.health is Health.WARNING


async def test_a_box_without_an_identity_has_no_addresses_to_look_at(tmp_path: Path) -> None:
    """That is the one failure; what follows from it is unknown."""
    subject = await Patient.of(configured(tmp_path, '[agent]\nstate_dir = "state"\n'))
    assert (await local.identity(subject)).health is Health.FAILED
    for look in (local.certificate, remote.dns, remote.enrolment, remote.broker, remote.gateway):
        assert (await look(subject)).health is Health.UNKNOWN
    assert (await remote.clock(subject)).health is Health.UNKNOWN
