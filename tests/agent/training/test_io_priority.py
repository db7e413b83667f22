"""The training child's priority at the disk, as the kernel tells it of its threads."""

import pytest
from headwater_agent.training import kernel

from tests.agent.training.confined import run

pytestmark = pytest.mark.skipif(not kernel.machine(), reason="this system has no such priority")

_SCRIPT = """
import sys, threading
import psutil
from headwater_agent.training import io_priority
io_priority.lower(sys.argv[1])
told = []
thread = threading.Thread(target=lambda: told.append(psutil.Process(threading.get_native_id()).ionice()))
thread.start()
thread.join()
print(*(f"{found.ioclass.name}:{found.value}" for found in (psutil.Process().ionice(), *told)))
"""


@pytest.mark.parametrize(
    ("name", "told"), [("idle", "IOPRIO_CLASS_IDLE:0"), ("low", "IOPRIO_CLASS_BE:7"), ("normal", "IOPRIO_CLASS_NONE:")]
)
def test_a_lower_priority_is_that_of_all_threads_from_then_on(name: str, told: str) -> None:
    """Idle: only when nobody else reads or writes; normal leaves it to the nice value."""
    done = run(_SCRIPT, name)
    found = done.stdout.split()
    assert len(found) == 2 and all(each.startswith(told) for each in found), done.stderr
