"""headwater backup | restore, on the machine of the control plane."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from headwater_control.edges.keyring import Keyring
from headwater_control.edges.store import open_store

from tests.headwater.shell import Shell


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run commands."""
    return Shell("", capsys)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a data directory of a control plane that does not run and knows nothing yet."""
    folder = tmp_path / "data"
    Keyring(folder / "keys", datetime.now(UTC))

    async def make() -> None:
        async with open_store(f"sqlite:///{folder / 'headwater.db'}"):
            pass

    asyncio.run(make())
    return folder


def test_a_backup_is_told_and_restored(shell: Shell, data: Path, tmp_path: Path) -> None:
    """With where it is, how much it is, and what to think of."""
    config = tmp_path / "headwater.toml"
    config.write_text(f'data_dir = "{data}"\nca_chain = "/etc/ca/chain.pem"\nca_key = "/etc/ca/key.pem"\n')
    told = shell.ok("backup", str(tmp_path / "backup"), "--config", str(config))
    assert f"{tmp_path / 'backup'}: " in told and "/etc/ca/chain.pem, /etc/ca/key.pem" in told
    told = shell.ok("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"))
    assert f"{tmp_path / 'new'}: " in told and "docs/backup.md" in told
    assert (tmp_path / "new" / "headwater.toml").read_text() == config.read_text()


def test_programs_are_told_in_json(shell: Shell, data: Path, tmp_path: Path) -> None:
    """Both commands say the same of a backup, but for the folder."""
    made = json.loads(shell.ok("backup", str(tmp_path / "backup"), "--data-dir", str(data), "--json"))
    restored = json.loads(shell.ok("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"), "--json"))
    assert (made["folder"], made["database"], made["lacking"]) == (str(tmp_path / "backup"), "sqlite", [])
    assert {**restored, "folder": made["folder"]} == made


def test_what_cannot_be_done_is_a_sentence(shell: Shell, data: Path, tmp_path: Path) -> None:
    """With what to do, and exit code 1, and without a password."""
    command = ("backup", str(tmp_path / "b"), "--data-dir", str(data))
    for arguments, words in (
        (("backup", str(data), "--data-dir", str(data)), "is there already"),
        (("backup", str(tmp_path / "b"), "--data-dir", str(tmp_path)), "say which with --data-dir"),
        (("backup", str(tmp_path / "b"), "--config", str(tmp_path / "none.toml")), "can't read the configuration"),
        ((*command, "--database", "postgresql://hw:secret@127.0.0.1:1/hw"), "can't be opened"),
        ((*command, "--database", "postgresql://127.0.0.1:secret/hw"), "is not a URL"),
        ((*command, "--database", "sqlite://"), "an in-memory database"),
        (("restore", str(data), "--data-dir", str(tmp_path / "new")), "is no backup"),
    ):
        said = shell(*arguments)
        assert said.code == 1 and words in said.err, said
        assert "Traceback" not in said.err and "secret" not in said.err


def test_a_restore_says_what_the_backup_lacks(shell: Shell, data: Path, tmp_path: Path) -> None:
    """With exit code 1, as the backup did: what there is has been restored all the same."""
    shell.ok("backup", str(tmp_path / "backup"), "--data-dir", str(data))
    manifest = tmp_path / "backup" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"lacking": ["ab" * 32]}))
    for form in ([], ["--json"]):
        new = tmp_path / f"new{len(form)}"
        said = shell("restore", str(tmp_path / "backup"), "--data-dir", str(new), *form)
        assert said.code == 1 and str(new) in said.out, said
        assert f"1 blobs are missing or damaged, such as {'ab' * 32}" in said.err.replace("\n", ""), said
        assert (new / "headwater.db").is_file()
