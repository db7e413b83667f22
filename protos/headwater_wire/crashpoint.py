"""Named steps at which a test may kill the process: HEADWATER_CRASH_AT="name", "name:N" or "name:N@/guard/file".

N counts passes, from 1. A guard file is made first, and who finds it made lives on: so a restarted process, or several,
die once altogether. "name^" kills the parent too: the server whose child works on the step. Commas separate several.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

VARIABLE = "HEADWATER_CRASH_AT"


def _armed(setting: str) -> Callable[[str], None]:
    armed: dict[str, tuple[int, Path | None, bool]] = {}
    for item in filter(None, setting.split(",")):
        step, _, guard = item.partition("@")
        name, _, count = step.partition(":")
        armed[name.removesuffix("^")] = (int(count or 1), Path(guard) if guard else None, name.endswith("^"))
    passes: Counter[str] = Counter()
    parent = os.getppid()

    def check(name: str) -> None:
        if name not in armed:
            return
        wanted, guard, parent_too = armed[name]
        passes[name] += 1
        if passes[name] != wanted:
            return
        if guard is not None:
            try:
                guard.touch(exist_ok=False)
            except FileExistsError:
                return
        if parent_too and os.getppid() == parent:  # an orphan's new parent has nothing to do with it
            os.kill(parent, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    return check


def _unarmed(name: str) -> None:
    pass


_check: Callable[[str], None] = _unarmed


def arm() -> None:
    """Look at the environment: once when this is loaded, and again in a process forked with another one."""
    global _check
    _check = _armed(os.environ[VARIABLE]) if VARIABLE in os.environ else _unarmed


def crashpoint(name: str) -> None:
    """Pass a step by its name."""
    _check(name)


arm()
