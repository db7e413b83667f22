"""What lies between a fleet's boxes and its broker and gateway: two fault proxies, and unrest in them if wanted."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from threading import Event, Thread

from headwater.demo.processes import Endpoints

from tests.faults.faults import Faults
from tests.faults.running import Running, running

FAULTS = "FLEET_FAULTS"  # "slow,cut": the whole suite through proxies that do that; PRESETS and UNREST name all
PRESETS: Mapping[str, Mapping[str, float]] = {
    "slow": {"slow": 4e6, "latency_s": 0.01, "jitter_s": 0.02},
    "corrupt": {"corrupt": 1_000_000},  # TLS refuses what was spoilt, and the connection ends
    "duplicate": {"duplicate": 0.5},  # of packets: only where there is no TLS
    "reorder": {"reorder": 0.5},
}
UNREST = ("cut", "freeze")  # now and then
_OF_PACKETS = frozenset({"duplicate", "reorder"})
_APART_S = 3.0
_FROZEN_S = 0.4


@dataclass(frozen=True, slots=True)
class Links:
    """The way of every box to the broker, and to the gateway."""

    broker: Running
    gateway: Running
    secure: bool

    @property
    def env(self) -> dict[str, str]:
        """What sends an agent this way."""
        return {
            "HEADWATER_CONTROL_PLANE__BROKER": f"mqtt{'s' if self.secure else ''}://{self.broker.address}",
            "HEADWATER_CONTROL_PLANE__GATEWAY": self.gateway.address,
        }

    @property
    def both(self) -> tuple[Running, Running]:
        """List them."""
        return self.broker, self.gateway

    def cut(self, *, fin: bool = False) -> int:
        """End every connection; give their number."""
        return sum(link.cut(fin=fin) for link in self.both)

    def freeze(self) -> None:
        """Forward nothing, and keep the connections."""
        for link in self.both:
            link.freeze()

    def thaw(self) -> None:
        """Forward again."""
        for link in self.both:
            link.thaw()

    def heal(self) -> None:
        """Do no harm any more."""
        for link in self.both:
            link.heal()


def wanted() -> tuple[str, ...]:
    """Read FLEET_FAULTS; raise ValueError if it names what there is not."""
    names = tuple(name for name in os.environ.get(FAULTS, "").split(",") if name)
    if unknown := set(names) - set(PRESETS) - set(UNREST):
        raise ValueError(f"{FAULTS} names {', '.join(sorted(unknown))}: choose of {', '.join((*PRESETS, *UNREST))}")
    return names


@contextmanager
def links(endpoints: Endpoints, names: tuple[str, ...] = ()) -> Iterator[Links]:
    """Put proxies before broker and gateway, which do what `names` say; packets are touched without TLS only."""
    touchable = not endpoints.secure
    chosen = {key: value for name in names if name not in _OF_PACKETS for key, value in PRESETS.get(name, {}).items()}
    packets = {
        key: value for name in names if name in _OF_PACKETS and touchable for key, value in PRESETS[name].items()
    }
    with ExitStack() as parts:
        made = Links(
            parts.enter_context(
                running(endpoints.mqtt.partition("://")[2], Faults(**chosen, **packets), mqtt=touchable)  # type: ignore[arg-type]  # by name
            ),
            parts.enter_context(running(endpoints.grpc, Faults(**chosen))),  # type: ignore[arg-type]  # likewise
            endpoints.secure,
        )
        if unrest := [name for name in UNREST if name in names]:
            parts.enter_context(_unrest(made, unrest))
        yield made


@contextmanager
def _unrest(made: Links, names: list[str]) -> Iterator[None]:
    """Cut, or freeze for a moment, one link after the other, while the context lasts."""
    over = Event()

    def disturb() -> None:
        ways = cycle([(name, link, fin) for name in names for fin in (False, True) for link in made.both])
        while not over.wait(_APART_S):
            name, link, fin = next(ways)
            if name == "cut":
                link.cut(fin=fin)
            else:
                link.freeze()
                over.wait(_FROZEN_S)
                link.thaw()

    thread = Thread(target=disturb, name="unrest", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
