"""Landlock: which files a process may touch from now on. It needs no rights, and can't be taken back.

https://docs.kernel.org/userspace-api/landlock.html; landlock(7). Each ABI of the kernel can refuse more.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from headwater_agent.training import kernel

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every processor
_ASK_VERSION = 1
_RULE_PATH_BENEATH = 1
_LACKING = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)  # not built in; switched off; a container forbids it

# LANDLOCK_ACCESS_FS_*
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_TRUNCATE = 1 << 14
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _MAKE_DIR | _REMOVE_FILE | _REMOVE_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE  # the rights that a rule for a single file may name

_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: 1 << 15}  # of files, by the ABI that brought them
_NETWORK = 3  # binding to and connecting TCP ports, since ABI 4
_SCOPES = 3  # abstract sockets of, and signals to, processes outside, since ABI 6

# What the kernel of an older ABI lets pass, by the ABI that can refuse it.
_PARTS = {1: "landlock", 3: "landlock-truncate", 4: "landlock-network", 5: "landlock-devices", 6: "landlock-scopes"}
PARTS = tuple(_PARTS.values())


def abi() -> int:
    """Ask for the kernel's ABI, which changes nothing; 0: it has no Landlock, or doesn't let us."""
    if not kernel.machine():
        return 0
    try:
        return kernel.call(_CREATE_RULESET, [None, 0, _ASK_VERSION])
    except OSError as error:
        if error.errno in _LACKING:
            return 0
        raise


def lacking(version: int) -> tuple[str, ...]:
    """Name what a kernel of this ABI can't refuse."""
    return tuple(part for since, part in _PARTS.items() if version < since)


def restrict(version: int, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """Refuse this thread, and those it will start, all but reading below `readable` and writing below `writable`.

    Whatever else this ABI knows is refused; of what must be readable, what is not there is left out. Raise `OSError`.
    """
    handled = _handled(version)
    ruleset = kernel.call(_CREATE_RULESET, [_attributes(version), len(_attributes(version)), 0])
    try:
        for path in readable:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # reading it will tell of it
                _allow(ruleset, path, _READ & handled)
        for path in writable:
            _allow(ruleset, path, _WRITE & handled)
        kernel.call(_RESTRICT_SELF, [ruleset, 0])
    finally:
        os.close(ruleset)


def _handled(version: int) -> int:
    rights = 0
    for since, more in _RIGHTS.items():
        rights |= more if version >= since else 0
    return rights


def _attributes(version: int) -> bytes:
    """Write struct landlock_ruleset_attr as long as this ABI has it."""
    values = [_handled(version)]
    if version >= 4:
        values.append(_NETWORK)
    if version >= 6:
        values.append(_SCOPES)
    return struct.pack(f"={len(values)}Q", *values)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)  # struct landlock_path_beneath_attr, packed
        kernel.call(_ADD_RULE, [ruleset, _RULE_PATH_BENEATH, rule, 0])
    finally:
        os.close(descriptor)
