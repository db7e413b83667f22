"""Reads what the conditions ask of a Linux box, from /proc and /sys, as far as it is there.

Documentation/ABI/testing/sysfs-class-power and sysfs-class-thermal of Linux, docs.kernel.org/accounting/psi.html, and
proc(5).
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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
_BATTERIES = {"Battery", "UPS"}
_FED = {"Charging", "Full", "Not charging"}  # what a battery says while something else feeds the box
_RTF_UP, _RTF_REJECT = 0x1, 0x200  # linux/route.h; without any other the kernel lists one over `lo` that rejects
_GPU_PERMILLE = ("sys/devices/gpu.0/load", "sys/devices/platform/gpu.0/load")  # of Jetsons


@dataclass
class Reader:
    """Reads a box below `root`. What its owner says of the network (`metered`) needs no reading."""

    state_dir: Path
    metered: bool | None = None
    zone: "ZoneInfo | None" = None  # None: the box's own
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
        )

    def _power(self) -> tuple[bool | None, float | None]:
        supplies = self.root / "sys/class/power_supply"
        if not supplies.is_dir():
            return None, None
        batteries = [path for path in _inside(supplies, "*") if _is_battery(path)]
        if not batteries:  # of the box itself; that of a mouse is none
            return True, None
        levels = [level for path in batteries if (level := _number(path / "capacity")) is not None]
        return _on_mains(supplies, batteries), min(levels, default=None)

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
        """Believe the owner; else a modem on a default route in use is metered, and of others nobody knows.

        Of IPv4 and IPv6 each has its own, and which of them leads to the control plane is the resolver's choice.
        """
        if self.metered is not None:
            return self.metered
        in_use = [min(routes)[1] for routes in map(list, (self._default_routes(), self._default_routes6())) if routes]
        return True if any(self._is_modem(interface) for interface in in_use) else None

    def _is_modem(self, interface: str) -> bool:
        told = _text(self.root / "sys/class/net" / interface / "uevent").splitlines()
        return "DEVTYPE=wwan" in told or interface.startswith(("wwan", "ppp"))

    def _default_routes6(self) -> Iterator[tuple[int, str]]:
        """List those of IPv6, whose file has other columns, and hexadecimal numbers."""
        for line in _text(self.root / "proc/net/ipv6_route").splitlines():
            fields = line.split()
            if len(fields) < 10 or (fields[0], fields[1]) != ("0" * 32, "00"):
                continue
            with suppress(ValueError):
                metric, flags = int(fields[5], 16), int(fields[8], 16)
                if flags & _RTF_UP and not flags & _RTF_REJECT:
                    yield metric, fields[9]

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
        if self.zone is None:
            time.tzset()  # the box may have been given another zone since
        local = datetime.fromtimestamp(now_s, self.zone).astimezone(self.zone)
        return Moment(local.weekday(), local.hour * 60 + local.minute)


def _on_mains(supplies: Path, batteries: list[Path]) -> bool | None:
    """Believe the supplies: not every battery says Discharging when it does. Where none tells, the batteries."""
    lines = [path for path in _inside(supplies, "*") if _is_line(path)]
    online = [told for path in lines if (told := _number(path / "online")) is not None]
    if online:
        return max(online) >= 1  # 2: a programmable supply, by USB Power Delivery
    states = {_text(path / "status") for path in batteries}
    if "Discharging" in states:
        return False
    return True if states & _FED else None


def _is_line(supply: Path) -> bool:
    """Say whether it feeds the box from outside: a port's may feed what is plugged in there."""
    return _text(supply / "type") not in _BATTERIES and _text(supply / "scope") != "Device"


def _is_battery(supply: Path) -> bool:
    return _text(supply / "type") in _BATTERIES and _text(supply / "scope") != "Device"


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
