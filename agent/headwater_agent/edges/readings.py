"""Reads what the conditions ask of a Linux box, from /proc and /sys, as far as it is there.

Documentation/ABI/testing/sysfs-class-power and sysfs-class-thermal of Linux, docs.kernel.org/accounting/psi.html, and
proc(5).
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater_agent.core.conditions import Readings
from headwater_agent.core.hours import Moment

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_PLAUSIBLE_CELSIUS = range(-60, 151)  # drivers without a sensor tell odd values
_CLOCK_SET_S = 1_735_689_600  # 2025: a clock before is that of a box whose battery is empty
_GPU_PERMILLE = ("sys/devices/gpu.0/load", "sys/devices/platform/gpu.0/load")  # of Jetsons


@dataclass
class Reader:
    """Reads a box below `root`. What its owner says of the network (`metered`) needs no reading."""

    state_dir: Path
    metered: bool | None = None
    zone: "ZoneInfo | None" = None  # None: the box's own
    locked: Callable[[], str] = lambda: ""  # why a person keeps it from training; empty: nobody does
    root: Path = Path("/")
    now_s: Callable[[], float] = time.time
    _ticks: tuple[int, int] = field(init=False)
    _ticks_a_second: int = field(init=False)
    _busy: float | None = None

    def __post_init__(self) -> None:
        """Begin to measure how busy the processors are."""
        self._ticks = self._cpu_ticks()
        self._ticks_a_second = os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)

    def read(self) -> Readings:
        """Read all; what can't be read is left out."""
        on_mains, battery = self._power()
        return Readings(
            on_mains=on_mains,
            battery=battery,
            celsius=max(self._celsius(), default=None),
            memory_pressure=self._pressure("memory"),
            cpu_pressure=self._pressure("cpu"),
            cpu_busy=self._cpu_busy(),
            gpu_busy=max(self._gpu_busy(), default=None),
            free_bytes=self._free_bytes(),
            metered=self._metered(),
            moment=self._moment(),
            maintenance=self.locked(),
        )

    def _power(self) -> tuple[bool | None, float | None]:
        supplies = self.root / "sys/class/power_supply"
        if not supplies.is_dir():
            return None, None
        batteries = [path for path in _inside(supplies, "*") if _is_battery(path)]
        if not batteries:  # of the box itself; that of a mouse is none
            return True, None
        levels = [level for path in batteries if (level := _number(path / "capacity")) is not None]
        plugged = any(_number(path / "online") == 1 for path in _inside(supplies, "*") if path not in batteries)
        discharging = any(_text(path / "status") == "Discharging" for path in batteries)
        return plugged or not discharging, min(levels, default=None)

    def _celsius(self) -> Iterator[float]:
        for path in _inside(self.root / "sys/class/thermal", "thermal_zone*"):
            millidegrees = _number(path / "temp")
            if millidegrees is not None and round(millidegrees / 1000) in _PLAUSIBLE_CELSIUS:
                yield millidegrees / 1000

    def _pressure(self, what: str) -> float | None:
        for line in _text(self.root / "proc/pressure" / what).splitlines():
            kind, *values = line.split()
            for value in values:
                name, _, percent = value.partition("=")
                if (kind, name) == ("some", "avg60"):
                    return _float(percent)
        return None

    def _cpu_busy(self) -> float | None:
        """Say how busy they were over the last second or more; what has gone by since is too short to tell."""
        ticks = self._cpu_ticks()
        busy, total = (now - then for now, then in zip(ticks, self._ticks, strict=True))
        if total < 0 or busy < 0:  # the counters began anew, or can't be read any more
            self._ticks, self._busy = ticks, None
        elif total >= self._ticks_a_second:
            self._ticks, self._busy = ticks, 100 * busy / total
        return self._busy

    def _cpu_ticks(self) -> tuple[int, int]:
        """Count the ticks that were busy, but for those of niced processes, and all; to wait for a disk is idle."""
        name, *ticks = (_text(self.root / "proc/stat").partition("\n")[0] or "none").split()
        if name != "cpu" or len(ticks) < 8 or not all(tick.isdigit() for tick in ticks):
            return 0, 0
        user, nice, system, idle, iowait, irq, softirq, steal = (int(tick) for tick in ticks[:8])
        busy = user + system + irq + softirq + steal
        return busy, busy + nice + idle + iowait

    def _gpu_busy(self) -> Iterator[float]:
        for path in _inside(self.root / "sys/class/drm", "card*"):
            if (percent := _number(path / "device/gpu_busy_percent")) is not None:
                yield percent
        for place in _GPU_PERMILLE:
            if (permille := _number(self.root / place)) is not None:
                yield permille / 10

    def _free_bytes(self) -> int | None:
        try:
            status = os.statvfs(self.state_dir)
        except OSError:
            return None
        return status.f_bavail * status.f_frsize

    def _metered(self) -> bool | None:
        """Believe the owner; else a modem on the default route in use is metered, and of others nobody knows."""
        if self.metered is not None:
            return self.metered
        interface = min(self._default_routes(), default=(0, ""))[1]
        told = _text(self.root / "sys/class/net" / interface / "uevent").splitlines() if interface else []
        return True if "DEVTYPE=wwan" in told or interface.startswith(("wwan", "ppp")) else None

    def _default_routes(self) -> Iterator[tuple[int, str]]:
        """List them by metric and interface: the kernel uses the one of the lowest metric."""
        for line in _text(self.root / "proc/net/route").splitlines()[1:]:
            fields = line.split()
            if len(fields) >= 8 and fields[1] == fields[7] == "00000000" and fields[6].isdigit():
                yield int(fields[6]), fields[0]

    def _moment(self) -> Moment | None:
        now_s = self.now_s()
        if now_s < _CLOCK_SET_S:
            return None
        local = datetime.fromtimestamp(now_s, self.zone).astimezone(self.zone)
        return Moment(local.weekday(), local.hour * 60 + local.minute)


def _is_battery(supply: Path) -> bool:
    return _text(supply / "type") in {"Battery", "UPS"} and _text(supply / "scope") != "Device"


def _inside(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _text(path: Path) -> str:
    """Read a small file; nothing, if it isn't there or its driver has no answer."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    return _float(_text(path))


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
