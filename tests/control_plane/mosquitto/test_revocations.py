"""The list of revoked certificates, and the command that lets mosquitto read it."""

import asyncio
import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from headwater_control.edges.ca import embedded
from headwater_control.edges.mosquitto import NotReloaded, RevocationList

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def told_to(folder: Path, *reload: str) -> RevocationList:
    """Make a list whose reload is this command."""
    return RevocationList(folder, embedded(folder / "ca", NOW).revoked, reload)


def crl(file: Path) -> x509.CertificateRevocationList:
    """Read a list."""
    return x509.load_pem_x509_crl(file.read_bytes())


async def test_the_list_is_written_before_the_command_runs(tmp_path: Path) -> None:
    """What the command finds is the new list, readable by a broker that is another user, whatever our umask."""
    umask = os.umask(0o077)
    try:
        await told_to(tmp_path, "cp", "-p", str(tmp_path / "crl.pem"), str(tmp_path / "seen")).replace(["abc"], NOW)
    finally:
        os.umask(umask)
    assert [one.serial_number for one in crl(tmp_path / "seen")] == [0xABC]
    assert (tmp_path / "seen").stat().st_mode & 0o777 == 0o644


async def test_each_list_is_later_than_the_one_before(tmp_path: Path) -> None:
    """Also two within a second: of two lists, TLS libraries believe the later one."""
    revocations = told_to(tmp_path, "true")
    times = []
    for serials in (["abc"], [], ["abc"]):
        await revocations.replace(serials, NOW)
        times.append(crl(tmp_path / "crl.pem").last_update_utc)
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("sh", "-c", "echo no such unit >&2; exit 5"), "sh ended with 5: no such unit"),
        (("/no/such/command",), "can't run /no/such/command: No such file"),
    ],
)
async def test_a_command_that_fails_is_told_with_its_reason(
    tmp_path: Path, command: tuple[str, ...], reason: str
) -> None:
    """mosquitto goes on with the older list, and somebody has to know."""
    with pytest.raises(NotReloaded, match=reason):
        await told_to(tmp_path, *command).replace([], NOW)


class Hanging:
    """A command that hangs."""

    returncode: int | None = None

    def __init__(self, refusal: OSError | None) -> None:
        self._refusal = refusal

    async def communicate(self) -> tuple[bytes, None]:
        """Say nothing, for ever."""
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    def kill(self) -> None:
        """Die, or be another user's process."""
        if self._refusal is not None:
            raise self._refusal

    async def wait(self) -> int:
        """Leave a child behind that has the output still: Python waits for that too."""
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


@pytest.mark.parametrize("refusal", [None, PermissionError(errno.EPERM, "Operation not permitted")])
async def test_a_command_that_hangs_is_told_whether_it_can_be_killed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: OSError | None
) -> None:
    """A setuid one, such as sudo, and a child of a killed one are left behind, once: the control plane goes on."""
    begun = []

    async def started(*_command: str, **_files: int) -> Hanging:
        begun.append(Hanging(refusal))
        return begun[-1]

    monkeypatch.setattr("asyncio.create_subprocess_exec", started)
    for limit in ("_WITHIN_S", "_DEAD_WITHIN_S"):
        monkeypatch.setattr(f"headwater_control.edges.mosquitto.reload.{limit}", 0.01)
    revocations = told_to(tmp_path, "sudo", "systemctl", "reload", "mosquitto")
    for told, processes in (("sudo did not end", 1), ("sudo still hangs", 1), ("sudo did not end", 2)):
        with pytest.raises(NotReloaded, match=told):
            async with asyncio.timeout(20):
                await revocations.replace([], NOW)
        assert len(begun) == processes
        if told == "sudo still hangs":
            begun[-1].returncode = 0  # somebody has ended it


async def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    """With its name, and nothing is reloaded."""
    (tmp_path / "kept").mkdir()
    revocations = RevocationList(tmp_path / "gone", embedded(tmp_path / "ca", NOW).revoked, ["touch", "ran"])
    with pytest.raises(NotReloaded, match="gone"):
        await revocations.replace([], NOW)
