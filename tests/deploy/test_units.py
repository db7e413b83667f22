"""The systemd units: what systemd itself says of them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import sandbox, units

UNITS = ("headwater-agent.service", "headwater-control.service")
NEWER_KEYS = ("RestartSteps", "RestartMaxDelaySec")  # of systemd 254


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze, which CI must have."""
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is not installed: apt-get install systemd")
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("unit", "most"), [(UNITS[0], 1.5), (UNITS[1], 2.0)])
def test_little_is_exposed(unit: str, most: float) -> None:
    """Systemd's own score of a unit's exposure, which for a plain one is above 9, is at most what we promise."""
    told = systemd_analyze("security", "--offline=yes", "--no-pager", str(units.FOLDER / unit)).stdout
    score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert score is not None and float(score[1]) <= most, told


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(unit: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say but for what an older systemd does not know yet."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={program}", (units.FOLDER / unit).read_text()))
    told = systemd_analyze("verify", "--man=no", "--recursive-errors=no", str(copy))
    complaints = [line for line in told.stderr.splitlines() if unit in line]
    assert [line for line in complaints if not any(key in line for key in NEWER_KEYS)] == []


def test_systemd_understands_the_gpu_drop_in(tmp_path: Path) -> None:
    """The drop-in opens devices, and nothing else of the unit."""
    folder = tmp_path / f"{UNITS[0]}.d"
    shutil.copytree(units.FOLDER / f"{UNITS[0]}.d", folder)
    shutil.copy(units.FOLDER / UNITS[0], tmp_path)
    told = systemd_analyze("verify", "--man=no", "--recursive-errors=no", str(tmp_path / UNITS[0]))
    assert "gpu.conf" not in told.stderr
    opened = {line.partition("=")[0] for line in (folder / "gpu.conf").read_text().splitlines() if "=" in line}
    changed = {"PrivateDevices", "DevicePolicy", "DeviceAllow", "SupplementaryGroups", "MemoryDenyWriteExecute"}
    assert {key for key in opened if not key.startswith("#")} == changed


@pytest.mark.parametrize("unit", UNITS)
def test_no_line_of_a_unit_is_unknown_to_the_sandbox(unit: str) -> None:
    """What the sandbox of the other tests does of a unit and what it can't do is together all that stands there."""
    assert units.read(unit).given.keys() <= sandbox.DONE | sandbox.NOT_HERE
    assert not sandbox.DONE & sandbox.NOT_HERE


def test_the_training_child_may_confine_itself() -> None:
    """The system-call filter has what Landlock and seccomp take, on a systemd of any age; no mount, no module."""
    calls = units.read(UNITS[0]).system_calls()
    assert {"seccomp", "prctl", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= calls
    assert not {"mount", "ptrace", "init_module", "bpf", "chroot", "setuid", "reboot"} & calls
