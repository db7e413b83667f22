"""How much memory training may fill: what the owner says, else half of what there is."""

from pathlib import Path

import pytest
from headwater_agent.edges.room import LEAST_BYTES, for_training, present_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("training_mb", "policy_mb", "present", "given"),
    [
        (0, 0, 8 * GIB, 4 * GIB),
        (0, 0, 300_000_000, LEAST_BYTES),
        (700, 0, 8 * GIB, 700_000_000),
        (100, 0, 8 * GIB, 100_000_000),
        (0, 900, 8 * GIB, 900_000_000),
        (700, 900, 8 * GIB, 700_000_000),
        (900, 700, 8 * GIB, 700_000_000),
        (0, 90_000, 8 * GIB, 4 * GIB),
    ],
)
def test_the_smallest_word_counts(training_mb: int, policy_mb: int, present: int, given: int) -> None:
    """Half of what there is, unless [training] says otherwise; never more than the policy."""
    assert for_training(training_mb, policy_mb, present_bytes=present) == given


def groups(folder: Path, lines: str, **limits: str) -> int:
    """Measure in a world of such control groups; `a__b` is the group a/b."""
    (folder / "cgroup").write_text(lines)
    for group, limit in limits.items():
        place = folder / "groups" / group.replace("__", "/").replace("root", ".")
        place.mkdir(parents=True, exist_ok=True)
        (place / ("memory.limit_in_bytes" if group.startswith("memory") else "memory.max")).write_text(limit)
    return present_bytes(folder, folder / "groups")


def test_the_tightest_control_group_counts(tmp_path: Path) -> None:
    """Of version 2: the own one, or one around it; "max" is no limit."""
    everything = present_bytes(tmp_path, tmp_path)
    assert groups(tmp_path, "0::/a/b\n", a="1000000\n", a__b="max\n") == 1_000_000
    assert groups(tmp_path, "0::/a/b\n", a__b="5000\n") == 5000
    assert groups(tmp_path, "0::/elsewhere\n") == everything
    assert groups(tmp_path, "0::/\n", root="7000\n") == 7000


def test_the_older_control_groups_count_too(tmp_path: Path) -> None:
    """Only the memory controller's, where "none" is a huge number; a group that can't be seen says nothing."""
    lines = "9:cpu:/fast\n4:memory:/a\n"
    assert groups(tmp_path, lines, memory__a="2000\n", fast="5\n") == 2000
    everything = present_bytes(tmp_path / "nowhere", tmp_path)
    assert groups(tmp_path, "4:memory:/gone\n", memory="9223372036854771712\n") == everything
