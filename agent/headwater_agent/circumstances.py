"""When a box trains, as its configuration spells it: [conditions]."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from headwater_agent.core import hours
from headwater_agent.core.conditions import NAMES, Wanted
from headwater_agent.settings import Section

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_NETWORKS = ("auto", "metered", "unmetered")
_MOST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Circumstances:
    """[conditions]: what is wanted, how it is looked at, and what of a dataset must be new."""

    wanted: Wanted = field(default_factory=Wanted)
    metered: bool | None = None  # None: the box tells, if it can
    zone: "ZoneInfo | None" = None  # None: the box's own
    every_s: float = 15.0  # how often the box is looked at
    min_new_examples: int = 0  # since the last training on a dataset
    upload_mb_a_day: float = 0.0  # of deltas; 0: no limit


def read_conditions(section: Section) -> Circumstances:
    """Read [conditions]; raise `BadSetting`."""
    spelled = section.selection("hours", default=()) or ()
    required = section.selection("require", default=())
    for name in required or ():
        section.check("require", partial(_check_condition, name))
    network = section.one_of("network", _NETWORKS, default="auto")
    zone = section.text("timezone", default="")
    standard = Wanted()
    return Circumstances(
        wanted=Wanted(
            mains=section.flag("mains", default=standard.mains),
            min_battery=_percent(section, "min_battery", standard.min_battery),
            max_celsius=section.number("max_celsius", default=standard.max_celsius, least=0.0, most=150.0),
            max_memory_pressure=_percent(section, "max_memory_pressure", standard.max_memory_pressure),
            max_cpu_pressure=_percent(section, "max_cpu_pressure", standard.max_cpu_pressure),
            max_cpu_busy=_percent(section, "max_cpu_busy", standard.max_cpu_busy),
            max_gpu_busy=_percent(section, "max_gpu_busy", standard.max_gpu_busy),
            min_free_mb=section.number("min_free_mb", default=standard.min_free_mb, least=0.0, most=_MOST),
            avoid_metered=section.flag("avoid_metered", default=standard.avoid_metered),
            hours=section.check("hours", lambda: hours.parse(spelled)),
            require=required,
            settle_s=section.number("settle_s", default=standard.settle_s, least=0.0, most=86_400.0),
        ),
        metered=None if network == "auto" else network == "metered",
        zone=section.check("timezone", lambda: _zone(zone)) if zone else None,
        every_s=section.number("every_s", default=15.0, least=0.1, most=3600.0),
        upload_mb_a_day=section.number("upload_mb_a_day", default=0.0, least=0.0, most=_MOST),
        min_new_examples=section.integer("min_new_examples", default=0, least=0, most=_MOST),
    )


def described(how: Circumstances) -> Iterator[str]:
    """Say when the box trains, for a person: one line, if anything is asked for beyond the defaults."""
    wanted, standard = how.wanted, Wanted()
    asked = [
        (wanted.mains, "on mains power only"),
        (bool(wanted.hours.windows), f"in its hours only: {', '.join(wanted.hours.spelled)}"),
        (wanted.avoid_metered, "not over a metered network"),
        (wanted.max_celsius != standard.max_celsius, f"up to {wanted.max_celsius:g} °C"),
        (bool(wanted.max_cpu_busy), f"while its processors are at most {wanted.max_cpu_busy:g} % busy otherwise"),
        (bool(how.min_new_examples), f"with {how.min_new_examples} new examples since the last training"),
        (bool(how.upload_mb_a_day), f"and sends up to {how.upload_mb_a_day:g} MB a day"),
    ]
    if told := [words for is_asked, words in asked if is_asked]:
        yield f"conditions: trains {'; '.join(told)}"


def _percent(section: Section, key: str, default: float) -> float:
    return section.number(key, default=default, least=0.0, most=100.0)


def _check_condition(name: str) -> None:
    if name not in NAMES:
        raise ValueError(f"there is no condition {name!r}; there are {', '.join(NAMES)}")


def _zone(name: str) -> "ZoneInfo":
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # a box without a zone of its own is spared it

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone known here, such as Europe/Berlin: is tzdata installed?") from error
