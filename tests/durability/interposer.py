"""Compiles the interposer, and arms processes with it."""

import atexit
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("interposer.c")
HOW = {"KILL": "KILL", "EIO": str(errno.EIO), "ENOSPC": str(errno.ENOSPC)}


@dataclass(frozen=True, slots=True)
class Call:
    """A durable call that a process made."""

    number: int
    name: str
    path: str


@cache
def library() -> Path:
    """Compile it, once in this process."""
    folder = tempfile.mkdtemp(prefix="hw-durable-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = Path(folder) / "interposer.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(target), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return target


def traced(file: Path) -> Mapping[str, str]:
    """Give the environment in which a process writes down its durable calls."""
    return {"LD_PRELOAD": str(library()), "DURABLE_TRACE": str(file)}


def failing(how: str, guard: Path, *calls: str) -> Mapping[str, str]:
    """Give the environment in which the first process to come to each of `calls` fails there.

    "rename */spool/*#2" is the second call of a process whose name and path fit, and "rename */spool/*" the first.
    """
    return {
        "LD_PRELOAD": str(library()),
        "DURABLE_AT": "\n".join(call if "#" in call else f"{call}#1" for call in calls),
        "DURABLE_HOW": HOW[how],
        "DURABLE_GUARD": str(guard),
    }


def missed(guard: Path, *calls: str) -> list[str]:
    """Name the calls that nobody has come to."""
    return [call for line, call in enumerate(calls) if not guard.with_name(f"{guard.name}.{line}").exists()]


def calls(file: Path) -> tuple[Call, ...]:
    """Read what `traced` had written."""
    found = []
    for line in os.fsdecode(file.read_bytes()).splitlines():
        number, name, path = line.split(" ", 2)
        found.append(Call(int(number), name, path))
    return tuple(found)
