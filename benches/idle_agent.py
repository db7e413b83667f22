"""An idle agent, after a Sync: its memory, import by import, its processor time, and its traffic of a day.

`python -m benches idle_agent --seconds 3600` watches its processor time for an hour. In the first eight minutes of that
it still has its gRPC channel, which costs more than all the rest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support import footprint
from tests.support.idle import idle_agent

MEMORY_LIMIT_MB = 48
TRAFFIC_LIMIT_MB = 0.5
CPU_LIMIT = 0.001  # of a core
HEARTBEAT_S = 60
KEEPALIVE_S = 120
BEATS = 20
SETTLING_S = 10.0

IMPORTS = (
    ("bare Python", ""),
    ("+ asyncio, logging, sqlite3", "import asyncio, logging, sqlite3, json, hashlib"),
    ("+ protobuf, the wire", "import headwater_wire.convert"),
    ("+ aiomqtt", "import aiomqtt"),
    ("+ grpc.aio", "import grpc.aio"),
    ("+ the agent", "import headwater_agent.daemon"),
)
_MEASURE = """
import sys, json
from tests.support.footprint import memory
figures = []
for line in json.loads(sys.argv[1]):
    exec(line)
    figures.append(memory('self')[0])
print(json.dumps(figures))
"""


def main() -> None:
    """Measure and print; exit non-zero if a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benches idle_agent", description=__doc__)
    parser.add_argument("--seconds", type=float, default=130.0, help="to watch its processor time for (130)")
    given = parser.parse_args()
    steps = breakdown()
    with tempfile.TemporaryDirectory() as folder:
        alone, pss, cpu, beat_bytes, start_bytes, traffic_mb = live(Path(folder), given.seconds)
    bare = steps[0]
    print("memory, PSS of one process in MB")
    for (what, _), before, after in zip(IMPORTS, [0.0, *steps], steps, strict=False):
        print(f"  {what:30} {after:6.1f}  (+{after - before:.1f})")
    print(f"  {'running, after a Sync':30} {alone:6.1f}  (in this company {pss:.1f})")
    print(
        f"idle agent: {alone:.1f} MB PSS, {alone / bare:.1f} × bare Python ({bare:.1f} MB) in this run; "
        f"limit {MEMORY_LIMIT_MB} MB"
    )
    print("  # as alone on the machine: libraries shared with other processes count in full, but for the C library")
    print("  # the strongest peer: two processes, 193 MB PSS, 33 MB of traffic a day (measured earlier, same machine)")
    print(
        f"idle processor time: {cpu:.4%} of a core over {given.seconds:.0f} s, {cpu / CPU_LIMIT:.2f} of the limit; "
        f"heartbeats every {HEARTBEAT_S} s"
    )
    print(
        f"idle traffic: {traffic_mb:.2f} MB a day at a heartbeat of {HEARTBEAT_S} s, "
        f"{86_400 / HEARTBEAT_S * beat_bytes / start_bytes:.0f} × what its start costs; limit {TRAFFIC_LIMIT_MB} MB"
    )
    print(
        f"  # counted at proxies by TCP_INFO, with 52 bytes of headers a segment and bare acknowledgements:\n"
        f"  # {beat_bytes:.0f} bytes a heartbeat over {BEATS}, {start_bytes} to connect, register and sync;\n"
        f"  # a day is {86_400 // HEARTBEAT_S} heartbeats, {86_400 // KEEPALIVE_S} pings of 160 bytes and one start"
    )
    if alone > MEMORY_LIMIT_MB or traffic_mb > TRAFFIC_LIMIT_MB or cpu > CPU_LIMIT:
        sys.exit("an idle agent is larger than promised")


def breakdown() -> list[float]:
    """Measure PSS after each import, in one fresh interpreter."""
    lines = json.dumps([line for _, line in IMPORTS])
    done = subprocess.run([sys.executable, "-c", _MEASURE, lines], capture_output=True, text=True, check=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


def live(folder: Path, seconds: float) -> tuple[float, float, float, float, int, float]:
    """Run an agent; watch its processor time for so many seconds.

    Give its PSS in MB, alone and as it is, its share of a core, bytes a heartbeat, bytes of a start, and MB a day.
    """
    with idle_agent(folder) as (control, pid):
        control.until("beats", 1)
        start = control.until("syncs", 1)
        time.sleep(SETTLING_S)
        cpu, began = footprint.cpu_s(pid), time.monotonic()
        time.sleep(seconds)
        cpu = (footprint.cpu_s(pid) - cpu) / (time.monotonic() - began)
        alone, pss = footprint.memory(pid)  # before it is hurried: that brings code back that an idle one lets go of
        control.ask("pace 1")
        control.until("syncs", 2)
        first = control.until("beats", control.ask()["beats"] + 2)
        last = control.until("beats", first["beats"] + BEATS)
        beat_bytes = (last["bytes"] - first["bytes"]) / (last["beats"] - first["beats"])
    traffic = 86_400 / HEARTBEAT_S * beat_bytes + 86_400 / KEEPALIVE_S * (4 + 3 * 52) + start["bytes"]
    return alone, pss, cpu, beat_bytes, start["bytes"], traffic / 1e6
