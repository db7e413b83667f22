"""A whole fleet that comes back at once after a restart of the control plane, and what that costs."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from headwater.demo.processes import ControlPlane, Endpoints
from headwater.records import Device

from tests.support.crowd import Where

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_S = 0.25
_FIRST_PORT, _EPHEMERAL = 20_000, 32_768  # Linux gives outgoing connections ports from here on
_ROOT = Path(__file__).parents[2]
_EXPECTED = ("Connection refused", "Disconnected during message iteration", "connection is gone")  # while it is away


@dataclass(frozen=True, slots=True)
class Storm:
    """What it took. Times are from the moment at which the control plane was ready again."""

    agents: int
    admitted_s: tuple[float, ...]  # of each agent, sorted: connected, registered, synced
    shown_s: float  # when the operator saw all of them online
    errors: tuple[str, ...]  # lines of the control plane's log that a person would take for trouble
    said: dict[str, int]  # what the agents complained of meanwhile
    peak_mb: float  # of the control plane, resident
    cpu_s: float  # of the control plane, from its start to the last admission

    @property
    def all_s(self) -> float:
        """Tell when the last was admitted."""
        return self.admitted_s[-1]

    def percentile(self, share: float) -> float:
        """Tell by when so many were admitted."""
        return self.admitted_s[min(len(self.admitted_s) - 1, int(share * len(self.admitted_s)))]


def storm(folder: Path, agents: int, *, processes: int = 2, within_s: float = 300.0) -> Storm:
    """Connect so many agents, restart the control plane, and see them all come back."""
    http, grpc, mqtt, enrol = (f"127.0.0.1:{port}" for port in _ports(4))
    places = Endpoints(f"https://{http}", grpc, f"mqtts://{mqtt}", enrol, 0)
    with ControlPlane(folder, at=places) as before, ExitStack() as crowds:
        endpoints = before.ready()
        marks = [agents * number // processes for number in range(processes + 1)]
        children = [
            crowds.enter_context(_crowd(folder, endpoints, first, last - first)) for first, last in pairwise(marks)
        ]
        _told(children)
        before.stop()
        stopped_at = datetime.now(UTC)
        with ControlPlane(folder, at=endpoints) as after:
            logged = after.log.stat().st_size
            after.ready()
            ready_s = time.monotonic()
            told = _told(children)
            cpu_s, peak_mb = _cost(after)
            with endpoints.client() as client:
                while sum(_is_back(device, stopped_at) for device in client.devices.list()) < agents:
                    assert time.monotonic() < ready_s + within_s, "not all are shown online"
                    time.sleep(_LOOK_S)  # a list of thousands costs the control plane what it needs for them
            shown_s = time.monotonic() - ready_s
            errors = [line for line in after.log.read_text()[logged:].splitlines() if _is_trouble(line)]
    admitted = sorted(max(0.0, at - ready_s) for one in told for at in one["admitted_s"])
    said = sum((Counter(one["said"]) for one in told), Counter[str]())
    unexpected = {what: count for what, count in said.items() if not any(word in what for word in _EXPECTED)}
    return Storm(agents, tuple(admitted), shown_s, tuple(errors), unexpected, peak_mb, cpu_s)


def _ports(count: int) -> list[int]:
    """Find free ports that no outgoing connection is given.

    Else one of a thousand that try to come back would sooner or later come from the very port it goes to, be connected
    to itself (RFC 9293, section 3.5), and keep the control plane from listening there.
    """
    found: list[int] = []
    for port in range(_FIRST_PORT + os.getpid() % 5000, _EPHEMERAL):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")


@contextmanager
def _crowd(folder: Path, endpoints: Endpoints, first: int, count: int) -> Iterator["subprocess.Popen[str]"]:
    where = Where(str(folder), endpoints.mqtt.partition("://")[2], endpoints.grpc, first, count)
    command = [sys.executable, "-m", "tests.support.crowd", json.dumps(asdict(where))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as child:
        try:
            yield child
        finally:
            child.kill()


def _told(children: Sequence["subprocess.Popen[str]"]) -> list[dict[str, Any]]:
    """Wait until all agents of all processes are admitted; give what they tell."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    told = []
    for child in children:
        assert child.stdout is not None
        told.append(json.loads(child.stdout.readline()))
    return told


def _is_back(device: Device, since: datetime) -> bool:
    return device.online and device.last_seen is not None and device.last_seen >= since


def _is_trouble(line: str) -> bool:
    return any(word in line for word in (" ERROR ", " WARNING ", "Traceback", " CRITICAL "))


def _cost(process: ControlPlane) -> tuple[float, float]:
    """Tell the CPU seconds, and the peak of the resident memory in MB, of the process that serves."""
    pid = json.loads((process.log.parent / "endpoints.json").read_text())["pid"]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(status["VmHWM"].split()[0]) / 1000
