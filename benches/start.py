"""How long a start takes: the control plane until it is ready, an agent until it is registered."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from headwater.demo.boxes import make_box
from headwater.demo.processes import ControlPlane

_TIMES = 7
_SERVER = "import headwater.cli.app, uvloop, headwater_control.server"
_AGENT = "import headwater_agent.daemon"
_DATASET = """\
[datasets.few]
format = "npz"
path = "few.npz"
[datasets.few.columns.x]
source = "x"
[datasets.few.columns.label]
source = "y"
"""


def main() -> None:
    """Print the medians, and their ratios to starting Python and to importing the same libraries in the same run."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        folder = Path(name)
        nothing_s = _median(lambda _: _python("pass"))
        fresh_s = _median(lambda turn: _serve(folder / f"fresh-{turn}"))
        again_s = _median(lambda _: _serve(folder / "fresh-0"))
        server_s = _median(lambda _: _python(_SERVER))
        with ControlPlane(folder / "control-plane") as control:
            registrations = [_register(folder / f"box-{turn}", control) for turn in range(_TIMES)]
        agent_imports_s = _median(lambda _: _python(_AGENT))
    _tell("serve, on an empty data dir, until ready", fresh_s, nothing_s, server_s)
    _tell("serve, on its own data dir, until ready", again_s, nothing_s, server_s)
    online_s, known_s = map(statistics.median, zip(*registrations, strict=True))
    _tell("agent, until registered and online", online_s, nothing_s, agent_imports_s)
    _tell("agent, until its dataset is known too", known_s, nothing_s, agent_imports_s)


def _tell(what: str, seconds: float, nothing_s: float, imports_s: float) -> None:
    print(
        f"{what}: {seconds:.2f} s = {seconds / imports_s:.2f} × importing the same libraries ({imports_s:.2f} s), "
        f"{seconds / nothing_s:.0f} × python -c pass ({nothing_s * 1000:.0f} ms)"
    )


def _median(measure: Callable[[int], float]) -> float:
    return statistics.median(measure(turn) for turn in range(_TIMES))


def _python(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def _serve(data: Path) -> float:
    """Start until the ready line is written."""
    started = time.perf_counter()
    with ControlPlane(data) as control:
        while b"is ready" not in control.log.read_bytes()[-4096:]:
            control.require_alive()
            time.sleep(0.005)
        seconds = time.perf_counter() - started
    control.log.unlink()
    return seconds


def _register(home: Path, control: ControlPlane) -> tuple[float, float]:
    """Start a new agent until the control plane has it online, and until it knows what its dataset holds."""
    at = control.ready()
    home.mkdir()
    np.savez(home / "few.npz", x=np.zeros((8, 4), np.float32), y=np.zeros(8, np.int64))
    box = make_box(home, home.name, at, _DATASET)
    online_s = 0.0
    with at.client() as client:
        box.enrol(client).done()
        started = time.perf_counter()
        with box.start() as agent:
            while True:
                agent.require_alive()
                found = [device for device in client.devices.list() if device.id == box.id and device.online]
                seconds = time.perf_counter() - started
                online_s = online_s or (seconds if found else 0.0)
                if found and any(card.examples for card in found[0].datasets):
                    return online_s, seconds
                time.sleep(0.005)
