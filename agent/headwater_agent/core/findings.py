"""What `headwater-agent doctor` found, and how figures are judged: each with what to do."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from headwater_agent.core.policy import MB

GRACE = timedelta(days=365)  # how long after its end a certificate can still be renewed
LEAST_FREE_MB = 50.0
LEAST_FILES = 100  # that a disk must have room for: a training makes a few at a time
_CLOCK_FINE_S, _CLOCK_BAD_S = 60.0, 86_400.0
_SET_THE_CLOCK = "set the clock: timedatectl set-ntp true, or by hand; a box without a battery for it needs NTP"


class Health(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `advice` says what to do, unless it is fine."""

    name: str
    health: Health
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, Health.OK, found)


def warning(name: str, found: str, advice: str) -> Finding:
    """It works, and will not for ever."""
    return Finding(name, Health.WARNING, found, advice)


def failed(name: str, found: str, advice: str) -> Finding:
    """It keeps the box from working."""
    return Finding(name, Health.FAILED, found, advice)


def unknown(name: str, found: str, advice: str) -> Finding:
    """It could not be found out."""
    return Finding(name, Health.UNKNOWN, found, advice)


def certificate(begins: datetime, ends: datetime, now: datetime) -> Finding:
    """Judge the box's certificate by the box's clock."""
    name = "certificate"
    if now < begins:
        return failed(
            name, f"it begins on {begins:%Y-%m-%d %H:%M} UTC, and this box's clock says {now:%Y-%m-%d %H:%M}",
            _SET_THE_CLOCK,
        )  # fmt: skip
    if now >= ends + GRACE:
        return failed(
            name, f"it ended on {ends:%Y-%m-%d}, more than a year ago by this box's clock",
            "if the clock is right, enrol this box again: headwater-agent enroll --again, with a new invitation",
        )  # fmt: skip
    if now >= ends:
        return warning(
            name, f"it ended on {ends:%Y-%m-%d}",
            "the running agent renews it by itself once the enrolment port answers; is the clock right?",
        )  # fmt: skip
    told = f"until {ends:%Y-%m-%d}, {(ends - now).days} days left"
    if ends - now < (ends - begins) / 4:
        return warning(
            name, told, "it should have been renewed long ago: let the agent run, and see whether enrolment is reached"
        )
    return ok(name, told)


def clock(ahead_s: float | None, now: datetime, told: datetime | None) -> Finding:
    """Judge the box's clock: by the server's time now, or by what the server told last, which is in the past."""
    name = "clock"
    if ahead_s is None and told is not None and now < told - timedelta(minutes=1):
        return failed(name, f"it is behind what the control plane told last, {told:%Y-%m-%d %H:%M} UTC", _SET_THE_CLOCK)
    if ahead_s is None:
        return unknown(name, f"it says {now:%Y-%m-%d %H:%M} UTC, and no control plane told its time", "see enrolment")
    if abs(ahead_s) <= _CLOCK_FINE_S:
        return ok(name, f"within {abs(ahead_s):.1f} s of the control plane's")
    off = f"{span(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} the control plane's"
    if abs(ahead_s) < _CLOCK_BAD_S:
        return warning(name, off, f"certificates bear two days; hours and logs are wrong already: {_SET_THE_CLOCK}")
    return failed(name, off, f"certificates bear two days at most: {_SET_THE_CLOCK}")


def server(name: str, where: str, ends: datetime, now: datetime) -> Finding:
    """Judge the certificate of a server that answered."""
    left = (ends - now).days
    told = f"{where} answers, and its certificate is the control plane's, with {left} days left"
    if left < 7:
        return warning(name, told, "tell the operator: a control plane renews its own, and this one has not")
    return ok(name, told)


def disk(free_bytes: int, wanted_mb: float, *, read_only: bool = False, free_files: int | None = None) -> Finding:
    """Judge the disk where the agent keeps its state; of some file systems nobody knows how many files they take."""
    free_mb = free_bytes / MB
    if read_only:
        return failed(
            "disk", "it can't be written to: its file system is mounted read-only",
            "a disk that fails is made so: dmesg, smartctl; then mount -o remount,rw",
        )  # fmt: skip
    if free_files is not None and free_files < LEAST_FILES:
        return failed(
            "disk", f"{free_mb:,.0f} MB free, but room for {free_files} more files only (df -i)",
            "find the folder that holds so many, most likely not the agent's: du --inodes",
        )  # fmt: skip
    told = f"{free_mb:,.0f} MB free"
    advice = "make room: headwater-agent spool says what waits to be uploaded; the rest is deleted by itself"
    if free_mb < LEAST_FREE_MB:
        return failed("disk", told, advice)
    if free_mb < wanted_mb:
        return warning("disk", f"{told}, and {wanted_mb:g} are wanted to train", advice)
    return ok("disk", told)


def span(seconds: float) -> str:
    """Say a time roughly."""
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
