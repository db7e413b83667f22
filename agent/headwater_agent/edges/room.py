"""How much memory there is for training: of the machine's, of the control group's, what the owner gives."""

import os
from pathlib import Path

from headwater_agent.core.policy import MB

LEAST_BYTES = 256 * MB  # a worker that trains nothing large; with less none could start
_NO_LIMIT = 1 << 60  # cgroup v1 spells "none" as nearly 2^63


def for_training(memory_mb: int, policy_mb: int, *, present_bytes: int) -> int:
    """Say how many bytes the worker may fill: as the settings say (0: it is not said), else half of what there is."""
    given = memory_mb * MB or max(LEAST_BYTES, present_bytes // 2)
    return min(given, policy_mb * MB) if policy_mb else given


def present_bytes(proc: Path = Path("/proc/self"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Measure the machine's memory, or what this process's control groups let it have of that."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(machine, *_limits(proc, groups), _NO_LIMIT)


def _limits(proc: Path, groups: Path) -> list[int]:
    """Read the limit of each group that this process is in, the outer ones too (cgroups(7))."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, file = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        inner = root / path.strip("/")
        for group in (inner, *inner.parents):
            if group == root.parent:
                break
            try:
                found.append(int((group / file).read_text()))
            except (OSError, ValueError):  # no such file: the group is seen from inside a container; "max": no limit
                continue
    return found
