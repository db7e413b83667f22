"""An idle agent, after a Sync: its memory, import by import, and what it sends and receives in a day."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MEMORY_LIMIT_MB = 48
TRAFFIC_LIMIT_MB = 0.5
HEARTBEAT_S = 60
KEEPALIVE_S = 120
BEATS = 20
PATIENCE_S = 30.0

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
from benches.idle_agent import memory
figures = []
for line in json.loads(sys.argv[1]):
    exec(line)
    figures.append(memory('self')[0])
print(json.dumps(figures))
"""


def main() -> None:
    """Measure and print; exit non-zero if a limit is exceeded."""
    steps = breakdown()
    with tempfile.TemporaryDirectory() as folder:
        alone, pss, beat_bytes, start_bytes, traffic_mb = live(Path(folder))
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
        f"idle traffic: {traffic_mb:.2f} MB a day at a heartbeat of {HEARTBEAT_S} s, "
        f"{86_400 / HEARTBEAT_S * beat_bytes / start_bytes:.0f} × what its start costs; limit {TRAFFIC_LIMIT_MB} MB"
    )
    print(
        f"  # counted at proxies by TCP_INFO, with 52 bytes of headers a segment and bare acknowledgements:\n"
        f"  # {beat_bytes:.0f} bytes a heartbeat over {BEATS}, {start_bytes} to connect, register and sync;\n"
        f"  # a day is {86_400 // HEARTBEAT_S} heartbeats, {86_400 // KEEPALIVE_S} pings of 160 bytes and one start"
    )
    if alone > MEMORY_LIMIT_MB or traffic_mb > TRAFFIC_LIMIT_MB:
        sys.exit("an idle agent is larger than promised")


def breakdown() -> list[float]:
    """Measure PSS after each import, in one fresh interpreter."""
    lines = json.dumps([line for _, line in IMPORTS])
    done = subprocess.run([sys.executable, "-c", _MEASURE, lines], capture_output=True, text=True, check=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


class Control:
    """The control side, in another process: it ends with the context."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benches._idle_control"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, line: str = "state") -> dict[str, Any]:
        """Say something; get its counters."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        state: dict[str, Any] = json.loads(self._process.stdout.readline())
        return state

    def until(self, key: str, least: int) -> dict[str, Any]:
        """Wait for a counter."""
        end = time.monotonic() + PATIENCE_S
        while (state := self.ask())[key] < least:
            if time.monotonic() > end:
                raise TimeoutError(f"{key} did not reach {least}")
            time.sleep(0.05)
        return state

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def live(folder: Path) -> tuple[float, float, float, int, float]:
    """Run an agent; give its PSS in MB, alone and as it is, bytes a heartbeat, bytes of a start, and MB a day."""
    control = Control()
    ports = control.ask()
    config = folder / "agent.toml"
    config.write_text(
        f'[agent]\nid = "bench"\nstate_dir = "state"\n'
        f'[control_plane]\ninsecure = true\nbroker = "mqtt://127.0.0.1:{ports["broker"]}"\n'
        f'gateway = "127.0.0.1:{ports["gateway"]}"\n'
    )
    agent = subprocess.Popen(
        [sys.executable, "-m", "headwater_agent", "run", "--config", str(config), "--log-level", "error"]
    )
    try:
        control.until("beats", 1)
        start = control.until("syncs", 1)
        control.ask("pace 1")
        control.until("syncs", 2)
        first = control.until("beats", start["beats"] + 2)
        last = control.until("beats", first["beats"] + BEATS)
        beat_bytes = (last["bytes"] - first["bytes"]) / (last["beats"] - first["beats"])
        alone, pss = memory(agent.pid)
    finally:
        agent.kill()
        agent.wait()
        control.close()
    traffic = 86_400 / HEARTBEAT_S * beat_bytes + 86_400 / KEEPALIVE_S * (4 + 3 * 52) + start["bytes"]
    return alone, pss, beat_bytes, start["bytes"], traffic / 1e6


def memory(pid: int | str) -> tuple[float, float]:
    """Read (PSS as if no other Python ran, PSS as it is now) in MB.

    Pages of libraries that others map too count for a part in PSS: a busy machine flatters. So every mapping counts in
    full here, but those of the C library, which every process of any machine has.
    """
    alone = now = 0
    everywhere = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, rest = line.partition(":")
        if "-" in key and " " in key:
            everywhere = any(name in line for name in ("/libc.so", "/libm.so", "/ld-linux", "/locale/"))
        elif key == "Pss":
            now += int(rest.split()[0])
            alone += int(rest.split()[0]) if everywhere else 0
        elif key == "Rss" and not everywhere:
            alone += int(rest.split()[0])
    return alone / 1024, now / 1024
