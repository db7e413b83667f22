"""Promises that the settings of a box's owner make: when it trains, on what, and how much it keeps and sends."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf
from typing import Any

from headwater_agent.edges.journal import PAUSE_S
from headwater_agent.trainings import PAUSE_S as STOP_S

from tests.simulation.history import History
from tests.simulation.ledger import Rows
from tests.simulation.surroundings import DAY_S, Surroundings

_SOON_S = 1.0  # from a look at the box until the machine has heard of it
_PACES = 1.02  # of two clocks


@dataclass
class Rules:
    """What one box has looked at, kept and sent."""

    history: History
    box: str
    place: Surroundings
    _looked_s: float = 0.0
    _unfit_s: float | None = None  # since which look, in this life; None: it may train
    _hampered_s: float = -inf  # when its journal could not be written last
    _lost_s: float | None = None  # the last look in this life that found what must stay well for a while
    _made_of: int | None = None  # examples: the last delta, since more of them are wanted
    _day: int = 0
    _sent: int = 0  # bytes, on that day
    _written: tuple[int, int] = (0, 0)  # of both, what outlasts this life
    _counted: int = 0  # uploads, in this life
    _going_up: set[str] = field(default_factory=set)

    def starts(self) -> None:
        """A life begins: what stands on no disk is forgotten."""
        self._unfit_s = self._lost_s = None
        self._day, self._sent = self._written
        self._counted = 0
        self._going_up = set()

    def hampered(self) -> None:
        """Its journal can't be written now: what the machine has decided waits, and what it should hear of too."""
        self._hampered_s = self.history.loop.now_s

    def looked(self) -> None:
        """The box's conditions are looked at."""
        self._looked_s = now_s = self.history.loop.now_s
        bad = self.place.bad()
        if bad:
            self._lost_s = now_s
        if not bad and not self.place.forbidden():
            self._unfit_s = None
        elif self._unfit_s is None:
            self._unfit_s = now_s

    def begins(self, task: str) -> None:
        """A training begins: the box was looked at, its conditions are met, and were so for a while."""
        now_s, owner, promise = self.history.loop.now_s, self.place.owner, self.history.promise
        late_s = now_s - self._looked_s - owner.every_s * _PACES
        promise(late_s < _SOON_S, "conditions", f"{self.box} trains {task}, and was not looked at for {late_s:.1f} s")
        if now_s - self._hampered_s < PAUSE_S + _SOON_S:
            return
        unfit_s = 0.0 if self._unfit_s is None else now_s - self._unfit_s
        why = f"{self.place.bad()} {self.place.forbidden()}"
        promise(unfit_s < _SOON_S, "conditions", f"{self.box} trains {task} though since {unfit_s:.1f} s: {why}")
        steady_s = owner.wanted.settle_s if self._lost_s is None or unfit_s else (now_s - self._lost_s) * _PACES
        settled = steady_s >= owner.wanted.settle_s
        promise(settled, "settled", f"{self.box} trains {task}; all is well again only for {steady_s:.1f} s")

    def goes_on(self, task: str) -> None:
        """A training takes a step: it would have been stopped if the box had not been fit for it for long."""
        unfit_s = 0.0 if self._unfit_s is None else self.history.loop.now_s - self._unfit_s
        in_time = unfit_s < STOP_S * _PACES + _SOON_S
        self.history.promise(in_time, "conditions", f"{self.box} goes on with {task}, unfit for {unfit_s:.1f} s")

    def took(self, size: int, *, lasting: bool) -> None:
        """An upload was counted: the day has room for it, or it is the day's first. A day that comes again goes on."""
        day = int(self.place.wall_s() / DAY_S)
        if day > self._day:
            self._sent = 0
        if day > self._day or day < self._day - 1:  # so far back that the clock must have been wrong: what went up did
            self._day = day
        limit, before = self.place.owner.upload_bytes, self._sent
        self._sent += size
        self._counted += 1
        kept = not before or self._sent <= limit
        self.history.promise(kept, "allowance", f"{self.box} sends {self._sent} bytes on day {day}, {limit} may go")
        sound = not self.place.fate.weather.disk
        self.history.promise(lasting or not sound, "allowance", f"{self.box} does not write down what it counts")
        if lasting:
            self._written = self._day, self._sent

    def sends(self, task: str) -> None:
        """Bytes of a delta go up: it was counted, once in each life."""
        if self.place.owner.upload_bytes:
            self._going_up.add(task)
            counted = len(self._going_up) <= self._counted
            self.history.promise(counted, "allowance", f"{self.box} sends {task}, which it has not counted")

    def remembered(self, before: Rows, after: Rows, uploading: Collection[str], examples: int | None) -> None:
        """Its journal has changed; of the deltas in `uploading` bytes went up, and it knew of so many examples."""
        held = {key.partition("/")[2]: json.loads(after[key]) for key in after if key.startswith("held/")}
        changed = [name for name in held if after[f"held/{name}"] != before.get(f"held/{name}")]
        gone = [key.partition("/")[2] for key in before if key.startswith("held/") and key not in after]
        if changed or gone:
            self._kept(held, uploading, json.loads(after["state"])["server_ms"])
        self._dropped(gone, before, after)
        for name in changed:
            if f"held/{name}" not in before and held[name]["task"]["plan"]["train"]:
                self._accepts(name, examples)
            if held[name]["stage"] == "spooled" and examples is not None:
                self._made_of = examples

    def _kept(self, held: dict[str, Any], uploading: Collection[str], server_ms: int) -> None:
        """What waits for its upload is within the quota, but for what is going up."""
        quota = self.place.owner.quota
        spooled = {name: tree for name, tree in held.items() if tree["stage"] == "spooled"}
        waiting = spooled.keys() - set(uploading)
        size = sum(tree["delta"]["size"] for tree in spooled.values())
        fits = not waiting or size <= quota.max_bytes
        self.history.promise(fits, "quota", f"{self.box} keeps {size} bytes in its spool, {quota.max_bytes} may be")
        for name in sorted(waiting):
            age_ms = server_ms - (spooled[name]["spooled_ms"] or server_ms)
            self.history.promise(age_ms <= quota.max_age_ms, "quota", f"{self.box} keeps {name} for {age_ms} ms")

    def _dropped(self, gone: list[str], before: Rows, after: Rows) -> None:
        """What is dropped for the quota is counted, and told."""
        told = [name for name in gone if "its delta was dropped" in str(after.get(f"report/{name}"))]
        more = _deltas(after) - _deltas(before)
        self.history.promise(more == len(told), "quota", f"{self.box} counts {more} dropped deltas, and tells {told}")
        for name in told:
            self.history.note(self.box, f"drops the delta of {name}")

    def _accepts(self, task: str, examples: int | None) -> None:
        """A task to train on data of which enough are new, as far as the box knows."""
        if examples is None or self._made_of is None:
            return
        new, wanted = examples - self._made_of, self.place.owner.min_new_examples
        self.history.promise(new >= wanted, "new examples", f"{self.box} accepts {task}; {new} of {wanted} are new")


def _deltas(rows: Rows) -> int:
    return int(json.loads(rows["dropped"])["deltas"]) if "dropped" in rows else 0
