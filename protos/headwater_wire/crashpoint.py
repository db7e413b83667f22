"""Named steps at which a test may kill the process: HEADWATER_CRASH_AT="name", "name:N" or "name:N@/guard/file"."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

VARIABLE = "HEADWATER_CRASH_AT"


def _arm(setting: str) -> Callable[[str], None]:
    """Read the setting: several steps are separated by commas. With a guard file, only its maker dies."""
    armed: dict[str, tuple[int, Path | None]] = {}
    for item in filter(None, setting.split(",")):
        step, _, guard = item.partition("@")
        name, _, count = step.partition(":")
        armed[name] = (int(count or 1), Path(guard) if guard else None)
    passes: Counter[str] = Counter()

    def check(name: str) -> None:
        if name not in armed:
            return
        wanted, guard = armed[name]
        passes[name] += 1
        if passes[name] != wanted:
            return
        if guard is not None:
            try:
                guard.touch(exist_ok=False)
            except FileExistsError:
                return
        os.kill(os.getpid(), signal.SIGKILL)

    return check


def _unarmed(name: str) -> None:
    pass


crashpoint: Callable[[str], None] = _arm(os.environ[VARIABLE]) if VARIABLE in os.environ else _unarmed
