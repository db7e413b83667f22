"""The limit of open files, in a process of its own, since it can't be taken back."""

import subprocess
import sys

import pytest

_PROGRAM = """
import logging, resource, sys
from headwater_control.files import allow_many
logging.basicConfig(level=logging.INFO)
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(allow_many(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("hard", "warned"), [(1024, True), (6000, False)])
def test_it_is_raised_as_far_as_it_may_be_and_too_low_a_one_is_told(hard: int, warned: bool) -> None:
    """With what to do, and for how many devices it is enough."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "512", str(hard)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == [str((hard - 256) // 2), str(hard)]
    told = f"may open {hard} files, which is enough for {(hard - 256) // 2} devices: allow more by LimitNOFILE"
    assert (told in done.stderr) is warned
