"""The worker's priority at the disk: ioprio_set(2), before it confines itself, and for all threads it will start."""

import errno
import os
import sys

from headwater_agent.training import kernel

NAMES = ("idle", "low", "normal")
_NUMBERS = {"x86_64": 251, "aarch64": 30}
_WHO_PROCESS = 1
_BEST_EFFORT, _IDLE, _CLASS_SHIFT, _LOWEST = 2, 3, 13, 7
_VALUES = {"idle": _IDLE << _CLASS_SHIFT, "low": _BEST_EFFORT << _CLASS_SHIFT | _LOWEST}
_LACKING = (errno.ENOSYS, errno.EPERM, errno.EINVAL)  # a kernel without block devices; a container forbids it


def lower(name: str) -> None:
    """Take the priority called `name` for this thread and those it will start; where there is none, nothing.

    "normal" follows the process's nice value. Schedulers without priorities (none, mq-deadline before Linux 5.14) take
    no notice.
    """
    number = _NUMBERS.get(kernel.machine())
    if sys.platform != "linux" or number is None or name not in _VALUES:
        return
    try:
        kernel.call(number, [_WHO_PROCESS, os.getpid(), _VALUES[name]])
    except OSError as error:
        if error.errno not in _LACKING:
            raise
