"""What the owner of a box has set there: each draws its own, and most draw little."""

from dataclasses import dataclass
from random import Random

from headwater_agent.core.conditions import Wanted
from headwater_agent.core.hours import parse
from headwater_agent.core.session import DAY_MS, Quota
from headwater_agent.thrift import Thrift

DELTA_BYTES = 96  # of the one model's; its base version has as many
_WINDOWS = ("00:00-14:00", "05:00-16:00", "12:00-03:00")


@dataclass(frozen=True, slots=True)
class Owner:
    """The part of a box's configuration that decides what it does when; 0: no limit."""

    wanted: Wanted
    every_s: float
    min_new_examples: int
    upload_bytes: int  # a day
    quota: Quota
    thrift: Thrift
    grows_s: float  # how often there are new examples, on average


def drawn(chance: Random) -> Owner:
    """Draw one."""

    def seldom(share: float) -> bool:
        return chance.random() < share

    new = 1 + int(chance.random() * 20) if seldom(0.2) else 0
    return Owner(
        Wanted(
            mains=seldom(0.3),
            max_celsius=60.0,
            max_cpu_busy=50.0,
            avoid_metered=True,
            hours=parse((chance.choice(_WINDOWS),) if seldom(0.1) else ()),
            require=None if seldom(0.1) else ("power",) if seldom(0.2) else (),
            settle_s=chance.choice((0.0, 5.0, 20.0)),
        ),
        every_s=chance.choice((5.0, 10.0, 15.0)),
        min_new_examples=new,
        upload_bytes=DELTA_BYTES * chance.choice((1, 1, 2, 3)) - chance.choice((0, 0, 1)) if seldom(0.35) else 0,
        quota=Quota(
            max_bytes=DELTA_BYTES * chance.choice((1, 1, 2)) if seldom(0.5) else 100 * DELTA_BYTES,
            max_days=(20 + chance.random() * 200) * 1000 / DAY_MS if seldom(0.2) else 30.0,
        ),
        thrift=Thrift(
            checkpoint_every_s=chance.choice((0.0, 1.0, 20.0)), checkpoint_every_steps=chance.choice((0, 1, 2))
        ),
        grows_s=20.0 if new or seldom(0.2) else 0.0,
    )
