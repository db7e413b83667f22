"""headwater audit, against a real control plane whose database somebody meddles with."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import onnx
import pytest
from headwater.client import Client
from headwater.demo.processes import ControlPlane
from headwater.examples import classifier
from headwater.records import AuditEntry

from tests.headwater.impostor import impostor
from tests.headwater.shell import Shell
from tests.support.warm import launch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Name the data directory."""
    return tmp_path / "control" / "data"


@pytest.fixture
def shell(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Start one, and import a model."""
    onnx.save(classifier.digits_classifier(), tmp_path / "digits.onnx")
    with ControlPlane(data, secure=False, launch=launch) as control:
        url = control.ready().http
        with Client(url) as client:
            client.models.import_file(tmp_path / "digits.onnx", loss="cross_entropy")
            client.versions.import_file(tmp_path / "digits.onnx", model="digits")
        yield Shell(url, capsys)


def test_the_log_is_listed_and_an_edited_entry_is_found(shell: Shell, data: Path) -> None:
    """List, JSON and verdict; after an UPDATE in the database the verdict names the entry, with exit code 1."""
    told = shell.ok("audit", "list")
    assert "model.import" in told
    assert "loopback" in told
    assert "digits-2" in told
    (last,) = shell.json("audit", "list", "--last", "1")
    assert (last["number"], last["action"], last["source"]) == (3, "version.import", "127.0.0.1")
    assert last["after"]["number"] == 2
    assert f"whole: 3 entries; the last one's digest is {last['digest']}" in shell.ok("audit", "verify")
    assert shell.json("audit", "verify") == {"entries": 3, "head": last["digest"], "problem": ""}
    with closing(sqlite3.connect(data / "headwater.db")) as database, database:
        database.execute("UPDATE audit SET subject = 'another', before = 'no object' WHERE number = 2")
    said = shell("audit", "verify")
    assert said.code == 1
    assert "the audit log is broken: entry 2 was changed after it was written" in said.err
    assert shell("audit", "verify", "--json").code == 1
    assert shell.json("audit", "list")[1]["before"] == {"unreadable": "no object"}


def test_a_log_that_was_emptied_is_found(shell: Shell, data: Path) -> None:
    """The data directory knows that there was a first entry, and which."""
    with closing(sqlite3.connect(data / "headwater.db")) as database, database:
        database.execute("DELETE FROM audit")
        database.execute("UPDATE audit_head SET number = 0, digest = ''")
    said = shell("audit", "verify")
    assert said.code == 1
    assert "the audit log is broken: entry 1 is missing, and all after it" in said.err


def test_a_change_is_printed_as_what_was_and_what_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Field by field; a long value is cut, and brackets are no markup."""
    before, after = {"state": "running", "reason": ""}, {"state": "cancelled", "reason": f"[bold]{'x' * 200}"}
    seal = ("", "", "run.cancel", "run-1", before, after, "", "")
    entry = AuditEntry(7, datetime(2026, 1, 5, 8, 0, 1, tzinfo=UTC), "[/ann]", *seal)
    with impostor(200, {}, json.dumps([asdict(entry)], default=str).encode()) as url:
        told = " ".join(Shell(url, capsys).ok("audit", "list").split())
    assert "7 2026-01-05 08:00:01 [/ann]" in told
    assert "state: running → cancelled, reason: – → [bold]xxx" in told
    assert "x…" in told
