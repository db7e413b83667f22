"""What a worker gives up before it reads anything that came from the network.

It may compute, read its own inputs and write its own output: no network, no program, no other file, no other process.
The daemon imports this module too, to say what the kernel lacks.
"""

import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater_agent.training import kernel, landlock, limits, seccomp

MODES = ("required", "preferred", "off")
PARTS = (*landlock.PARTS, seccomp.PART)

# What Python, NumPy and ONNX Runtime read of a Linux system; nothing here is a secret.
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime",
    "/usr/share/zoneinfo", "/usr/share/locale", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system",
    "/sys/bus/pci/devices", "/sys/fs/cgroup", "/dev/urandom",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grounds:
    """Where a worker may read, and where it may write (and read what it wrote)."""

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()


class NotAlone(Exception):
    """Other threads run already, and would stay unconfined."""


def lacking() -> tuple[str, ...]:
    """Name the parts of the confinement that this kernel lacks; asking changes nothing."""
    return (*landlock.lacking(landlock.abi()), *seccomp.lacking())


def unconfined(mode: str) -> tuple[str, ...]:
    """Name the parts of the confinement that a worker of this mode does without on this box."""
    return PARTS if mode == "off" else lacking()


def objection(mode: str) -> str:
    """Say why a worker of this mode must not touch what came from the network; nothing, if it may."""
    missing = lacking() if mode == "required" else ()
    if not missing:
        return ""
    return (
        f"this device trains only where its kernel can confine the worker (training.confinement is required), and the "
        f"kernel has no {', '.join(missing)}: Linux 6.12 has all"
    )


def confine(
    grounds: Grounds, *, output_bytes: int = limits.OUTPUT_BYTES, memory_bytes: int | None = None
) -> tuple[str, ...]:
    """Confine this process for good, and all threads it will start; name the parts that the kernel lacks.

    What the kernel has and will not do is an `OSError`. Raise `NotAlone` if a second thread is there.
    """
    limits.restrict(output_bytes, memory_bytes)
    missing = lacking()
    if not kernel.machine():
        return missing
    _check_alone()
    kernel.renounce_new_privileges()
    version = landlock.abi()
    if version:
        readable = (*_interpreter(), *(Path(path) for path in _SYSTEM), *grounds.readable)
        landlock.restrict(version, readable, (*grounds.writable, Path(os.devnull)))
    if seccomp.PART not in missing:
        seccomp.restrict()
    return missing


def _interpreter() -> tuple[Path, ...]:
    """Name the folders that modules and their libraries are imported from."""
    stdlib = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    roots = dict.fromkeys((sys.prefix, sys.base_prefix))
    libraries = [f"{root}/{folder}" for root in roots for folder in ("lib", "lib64")]
    named = (*stdlib, *libraries, *_search_path(), *os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    return tuple(Path(path) for path in dict.fromkeys(named) if path.startswith("/") and os.path.realpath(path) != "/")


def _search_path() -> Sequence[str]:
    """Give sys.path without the current folder, which Python puts first unless it is started with -P."""
    return sys.path if sys.flags.safe_path else sys.path[1:]


def _check_alone() -> None:
    count = len(list(Path("/proc/self/task").iterdir()))
    if count > 1:
        raise NotAlone(f"{count} threads run already, and a thread can confine only itself and those it starts")
