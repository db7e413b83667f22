"""Runs a command that ends with the process that started it: `python lifeline.py PARENT_PID COMMAND…`."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command; on Linux it gets SIGTERM when the parent, or its thread that started this one, is gone."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):  # it went before the kernel was asked
            sys.exit("whoever started this is gone")
    os.execvp(command[0], command)  # noqa: S606 (a list built by us: no shell is wanted)


if __name__ == "__main__":
    main()
