"""A seccomp filter: which system calls this process may still make. It needs no rights, and can't be taken back.

seccomp(2); https://docs.kernel.org/userspace-api/seccomp_filter.html. A filter is a program of classic BPF (bpf(4)).
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from headwater_agent.training import kernel
from headwater_agent.training.system_calls import NEWEST, PROCESSORS, Processor

PART = "seccomp"

_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000  # SECCOMP_RET_*
_LACKING = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)

_LOAD, _RETURN = 0x20, 0x06  # BPF_LD | BPF_W | BPF_ABS; BPF_RET | BPF_K
_EQUAL, _GREATER, _AT_LEAST, _ANY_BIT = 0x15, 0x25, 0x35, 0x45  # BPF_JMP | BPF_K | BPF_JEQ, JGT, JGE, JSET
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16  # struct seccomp_data: nr, arch, the lower half of args[0]

_CLONE_THREAD = 0x00010000

Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jump if true, jump if false, k


def lacking() -> tuple[str, ...]:
    """Name the filter if this kernel, or this process's own one, has no place for it; asking changes nothing."""
    processor = PROCESSORS.get(kernel.machine())
    if processor is None:
        return (PART,)
    try:
        kernel.call(processor.seccomp, [_GET_ACTION_AVAIL, 0, struct.pack("=I", _KILL_PROCESS)])
    except OSError as error:
        if error.errno in _LACKING:
            return (PART,)
        raise
    return ()


def restrict() -> None:
    """Refuse this thread, and those it will start, the system calls it has no use for; raise `OSError`."""
    install(assemble(PROCESSORS[kernel.machine()], os.getpid()))


def install(code: bytes) -> None:
    """Filter this thread, and those it will start, by a program; raise `OSError`."""
    place = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(place))  # struct sock_fprog
    kernel.call(PROCESSORS[kernel.machine()].seccomp, [_SET_MODE_FILTER, 0, program])


def assemble(processor: Processor, pid: int) -> bytes:
    """Write the filter of a process: what it denies is answered with EPERM, a foreign calling convention with death."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in _program(processor, pid))


def _program(processor: Processor, pid: int) -> Iterator[Instruction]:
    refused = _ERRNO | errno.EPERM
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield from _unless(_EQUAL, processor.audit, _KILL_PROCESS)
    yield _LOAD, 0, 0, _NUMBER
    if processor.foreign_from is not None:
        yield from _if(_AT_LEAST, processor.foreign_from, _KILL_PROCESS)
    yield from _if(_GREATER, NEWEST, _ERRNO | errno.ENOSYS)
    for number in processor.denied.values():
        yield from _if(_EQUAL, number, refused)
    # Its flags lie in memory, where a filter can't look: glibc then takes clone, which has them in a register.
    yield from _if(_EQUAL, processor.clone3, _ERRNO | errno.ENOSYS)
    yield _EQUAL, 0, 4, processor.clone
    yield _LOAD, 0, 0, _FIRST
    yield from _unless(_ANY_BIT, _CLONE_THREAD, refused)
    yield _RETURN, 0, 0, _ALLOW
    for number in processor.signals:
        yield from _only(number, pid)
    for number in processor.own:
        yield from _only(number, 0, pid)
    yield _RETURN, 0, 0, _ALLOW


def _only(number: int, *first: int) -> Iterator[Instruction]:
    """Allow a call with one of these as its first argument, and with no other."""
    yield _EQUAL, 0, 2 + 2 * len(first), number
    yield _LOAD, 0, 0, _FIRST
    for value in first:
        yield from _if(_EQUAL, value, _ALLOW)
    yield _RETURN, 0, 0, _ERRNO | errno.EPERM


def _if(test: int, value: int, action: int) -> Iterator[Instruction]:
    yield test, 0, 1, value
    yield _RETURN, 0, 0, action


def _unless(test: int, value: int, action: int) -> Iterator[Instruction]:
    yield test, 1, 0, value
    yield _RETURN, 0, 0, action
