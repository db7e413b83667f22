"""Whether a box should train now: what its owner asks for, held against what was read of the box."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from headwater_wire.messages import Condition, ConditionState

from headwater_agent.core.hours import Hours, Moment

MB = 1_000_000
NAMES = (
    "power", "temperature", "memory", "cpu-pressure", "cpu", "gpu",
    "disk", "network", "hours", "maintenance", "sensors",
)  # fmt: skip
_STEADY = "steady"
_SURE = {"hours", "maintenance", "sensors"}  # what does not flap

# How far back into what is allowed a reading must go before a lost condition is met again: else it would flap.
_CELSIUS_BACK, _PERCENT_BACK, _FREE_BACK = 5.0, 5.0, 1.1

_Answer = str | None  # why a condition is not met; "": it is; None: nobody knows


@dataclass(frozen=True, slots=True)
class Wanted:
    """[conditions]: a 0 sets no limit; shares are in percent."""

    mains: bool = False  # train on mains power only
    min_battery: float = 30.0  # while on battery
    max_celsius: float = 85.0  # of the hottest zone
    max_memory_pressure: float = 20.0  # of the last minute, while some process waited for memory
    max_cpu_pressure: float = 0.0  # likewise for a processor: our own training's waits count too
    max_cpu_busy: float = 0.0  # by processes of normal priority: a training with nice > 0 is none
    max_gpu_busy: float = 0.0
    min_free_mb: float = 200.0  # where the agent keeps its state
    avoid_metered: bool = False
    hours: Hours = field(default_factory=Hours)
    require: tuple[str, ...] | None = ()  # conditions that must not be unknown; None: none of them
    settle_s: float = 60.0  # how long all must be met before what was put off goes on


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read of the box; None: it can't be read here."""

    on_mains: bool | None = None
    battery: float | None = None  # percent, of the emptiest
    celsius: float | None = None
    memory_pressure: float | None = None
    cpu_pressure: float | None = None
    cpu_busy: float | None = None
    gpu_busy: float | None = None
    free_bytes: int | None = None
    metered: bool | None = None
    moment: Moment | None = None
    maintenance: str = ""  # why a person keeps the box from training; empty: nobody does
    silence: str = ""  # why the readings above may be old; empty: they are not


@dataclass(frozen=True, slots=True)
class Standing:
    """How a box stands: `waiting` is empty while it may train."""

    conditions: tuple[Condition, ...] = ()
    waiting: str = ""
    met_since_s: float | None = None  # by the monotonic clock, while it waits for things to stay as they are


def advance(standing: Standing, wanted: Wanted, readings: Readings, at_s: float) -> Standing:
    """Say how a box stands after these readings: a lost condition counts at once, a met one after a while."""
    lost = {condition.name for condition in standing.conditions if condition.state is ConditionState.UNMET}
    found = tuple(_judged(wanted, readings, lost))
    unmet = {condition.name: condition.why for condition in found if condition.state is ConditionState.UNMET}
    since_s = None if unmet.keys() - _SURE else _settling_since(standing, lost, at_s)
    if since_s is not None and at_s - since_s >= wanted.settle_s:
        since_s = None
    if unmet:
        return Standing(found, "; ".join(unmet.values()), since_s)
    if since_s is None:
        return Standing(found)
    why = f"its conditions are met again, and must stay so for {wanted.settle_s:g} s"
    return Standing((*found, Condition(_STEADY, ConditionState.UNMET, why)), why, since_s)


def _settling_since(standing: Standing, lost: set[str], at_s: float) -> float | None:
    """Say since when nothing that flaps is lost, while that must last: a pause meanwhile makes it no shorter."""
    if standing.met_since_s is not None:
        return standing.met_since_s
    return None if lost <= _SURE else at_s


def _judged(wanted: Wanted, readings: Readings, lost: set[str]) -> Iterator[Condition]:
    for name, answer in _answers(wanted, readings, lost):
        if answer is None and (wanted.require is None or name in wanted.require):
            answer = f"its {name} can't be told here, and must be known (conditions.require)"
        if answer is None:
            yield Condition(name, ConditionState.UNKNOWN)
        else:
            yield Condition(name, ConditionState.UNMET if answer else ConditionState.OK, answer)


def _answers(wanted: Wanted, readings: Readings, lost: set[str]) -> Iterator[tuple[str, _Answer]]:
    yield "power", _power(wanted, readings, "power" in lost)
    yield "temperature", _temperature(wanted, readings, "temperature" in lost)
    pressure = _share(readings.memory_pressure, wanted.max_memory_pressure, "memory" in lost)
    yield "memory", pressure and f"some process waits for memory {pressure} (conditions.max_memory_pressure)"
    pressure = _share(readings.cpu_pressure, wanted.max_cpu_pressure, "cpu-pressure" in lost)
    yield "cpu-pressure", pressure and f"some process waits for a processor {pressure} (conditions.max_cpu_pressure)"
    busy = _share(readings.cpu_busy, wanted.max_cpu_busy, "cpu" in lost)
    yield "cpu", busy and f"its processors are busy otherwise {busy} (conditions.max_cpu_busy)"
    busy = _share(readings.gpu_busy, wanted.max_gpu_busy, "gpu" in lost)
    yield "gpu", busy and f"its GPU is busy {busy} (conditions.max_gpu_busy)"
    yield "disk", _disk(wanted, readings, "disk" in lost)
    yield "network", _network(wanted, readings)
    yield "hours", _hours(wanted, readings)
    yield "maintenance", readings.maintenance
    yield "sensors", readings.silence


def _power(wanted: Wanted, readings: Readings, lost: bool) -> _Answer:
    if readings.on_mains is None:
        return None
    if readings.on_mains:
        return ""
    if wanted.mains:
        return "it is on battery (conditions.mains)"
    if not wanted.min_battery:
        return ""
    if readings.battery is None:
        return None
    if readings.battery < wanted.min_battery + (_PERCENT_BACK if lost else 0):
        return f"its battery is at {readings.battery:.0f} % (conditions.min_battery is {wanted.min_battery:g})"
    return ""


def _temperature(wanted: Wanted, readings: Readings, lost: bool) -> _Answer:
    if readings.celsius is None:
        return None
    if wanted.max_celsius and readings.celsius > wanted.max_celsius - (_CELSIUS_BACK if lost else 0):
        return f"it has {readings.celsius:.0f} °C (conditions.max_celsius is {wanted.max_celsius:g})"
    return ""


def _disk(wanted: Wanted, readings: Readings, lost: bool) -> _Answer:
    if readings.free_bytes is None:
        return None
    if readings.free_bytes < wanted.min_free_mb * MB * (_FREE_BACK if lost else 1):
        free = readings.free_bytes / MB
        return f"its disk has {free:.0f} MB left (conditions.min_free_mb is {wanted.min_free_mb:g})"
    return ""


def _network(wanted: Wanted, readings: Readings) -> _Answer:
    if readings.metered is None:
        return None
    return "its network is metered (conditions.avoid_metered)" if readings.metered and wanted.avoid_metered else ""


def _hours(wanted: Wanted, readings: Readings) -> _Answer:
    if not wanted.hours.windows:
        return ""
    if readings.moment is None:
        return None
    if wanted.hours.hold(readings.moment):
        return ""
    return f"it is {readings.moment} there, outside of its hours ({', '.join(wanted.hours.spelled)})"


def _share(percent: float | None, limit: float, lost: bool) -> _Answer:
    if percent is None:
        return None
    if limit and percent > max(0.0, limit - (_PERCENT_BACK if lost else 0)):
        return f"{percent:.0f} % of the time, and {limit:g} is the limit"
    return ""
