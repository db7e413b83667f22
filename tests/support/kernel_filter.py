"""The seccomp filters that systemd would make of a unit, by the library that it makes them with: libseccomp(3)."""

import ctypes
import errno
from collections.abc import Iterable

from tests.support.units import Unit

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EQ, _GT, _MASKED_EQ = 4, 6, 7
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
_BEYOND_FAMILIES = 63
_WRITE_EXEC, _EXEC = 6, 4
_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)  # CLONE_NEW*

Argument = tuple[int, int, int, int]  # which one, how to compare, two operands


class _Compare(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class _Filter:
    """A filter in the making. Calls that this processor doesn't have are left out."""

    def __init__(self, default: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._made = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(default)))

    def rule(self, action: int, call: str, *arguments: Argument) -> None:
        """Add one."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        compared = (_Compare * len(arguments))(*(_Compare(*argument) for argument in arguments))
        self._check(
            self._library.seccomp_rule_add_array(
                self._made, ctypes.c_uint32(action), number, ctypes.c_uint(len(arguments)), compared
            )
        )

    def load(self) -> None:
        """Put it into force for this process and its children."""
        self._check(self._library.seccomp_load(self._made))

    def _check(self, result: int) -> None:
        if result < 0:
            raise OSError(-result, "libseccomp")


def restrict(unit: Unit) -> None:
    """Filter this process as the unit says. Other architectures' calls end it, as with SystemCallArchitectures."""
    _denials(unit).load()
    _allowed(unit.system_calls()).load()


def _allowed(calls: Iterable[str]) -> _Filter:
    made = _Filter(_ERRNO | errno.EPERM)
    for call in sorted(calls):
        made.rule(_ALLOW, call)
    return made


def _denials(unit: Unit) -> _Filter:
    made = _Filter(_ALLOW)
    if families := unit.words("RestrictAddressFamilies"):
        known = {_FAMILIES[name] for name in families}
        for family in sorted(set(range(_BEYOND_FAMILIES + 1)) - known):
            made.rule(_ERRNO | errno.EAFNOSUPPORT, "socket", (0, _EQ, family, 0))
        made.rule(_ERRNO | errno.EAFNOSUPPORT, "socket", (0, _GT, _BEYOND_FAMILIES, 0))
    if unit.on("RestrictNamespaces"):
        for flag in _NAMESPACES:
            made.rule(_ERRNO | errno.EPERM, "clone", (0, _MASKED_EQ, flag, flag))
        made.rule(_ERRNO | errno.ENOSYS, "clone3")
        made.rule(_ERRNO | errno.EPERM, "unshare")
        made.rule(_ERRNO | errno.EPERM, "setns")
    if unit.on("MemoryDenyWriteExecute"):
        made.rule(_ERRNO | errno.EPERM, "mmap", (2, _MASKED_EQ, _WRITE_EXEC, _WRITE_EXEC))
        made.rule(_ERRNO | errno.EPERM, "mprotect", (2, _MASKED_EQ, _EXEC, _EXEC))
        made.rule(_ERRNO | errno.EPERM, "pkey_mprotect", (2, _MASKED_EQ, _EXEC, _EXEC))
    return made
