"""Real processes that confine themselves and then try something: what the kernel says to it comes back."""

import subprocess
import sys
from pathlib import Path

DEADLINE_S = 60.0
_ALL = "confine(Grounds((Path(readable),), (Path(output),)), **{n: int(v) for n, v in (l.split('=') for l in limits)})"
LANDLOCK_ALONE = """\
from headwater_agent.training import landlock
system = [Path(path) for path in (sys.prefix, sys.base_prefix, "/usr", "/lib", *sys.path)]
landlock.restrict(landlock.abi(), [Path(readable), *system], [Path(output)])
"""

_SCRIPT = """\
import os, sys
from pathlib import Path
from headwater_agent.training.confinement import Grounds, confine
readable, output, *limits = sys.argv[1:]
sys.path[:] = [path for path in sys.path if path]
CONFINE
try:
    ATTEMPT
except OSError as error:
    print(type(error).__name__)
except MemoryError:
    print("MemoryError")
else:
    print("done")
"""


def attempt(deed: str, readable: Path, output: Path, *limits: str, before: str = "", confine: str = _ALL) -> str:
    """Have a process do `deed`, Python statements, once it is confined; give the error's name, or "done"."""
    script = before + "\n" + _SCRIPT.replace("CONFINE", confine).replace("ATTEMPT", deed.replace("\n", "\n    "))
    done = run(script, str(readable), str(output), *limits)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own."""
    command = [sys.executable, "-P", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
