"""System calls that Python has no words for, by number, and which kernel this is."""

import ctypes
import os
import sys
from collections.abc import Sequence
from functools import cache
from struct import calcsize

_PR_SET_NO_NEW_PRIVS = 38
_POINTER_BYTES = 8  # a 32-bit process on a 64-bit kernel has other numbers


def machine() -> str:
    """Name the processor as `uname -m` does, if this is a 64-bit process on Linux; else nothing."""
    return os.uname().machine if sys.platform == "linux" and calcsize("P") == _POINTER_BYTES else ""


def call(number: int, arguments: Sequence[int | bytes | None]) -> int:
    """Make a system call, bytes by their address; raise `OSError`."""
    filled = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    result: int = _libc().syscall(ctypes.c_long(number), *filled)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def renounce_new_privileges() -> None:
    """Let no execve from now on give this thread rights, as set-user-ID programs do: prctl(2), since Linux 3.5."""
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *(ctypes.c_ulong(0) for _ in range(3))):
        number = ctypes.get_errno()
        raise OSError(number, f"PR_SET_NO_NEW_PRIVS: {os.strerror(number)}")


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
