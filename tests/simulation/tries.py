"""How often one box has begun each training since it came further: what the agent's memory of it must come to."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

MOST = 3


@dataclass
class Tries:
    """`least` counts what has surely cut a training short, `most` what may have."""

    least: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    _reached: Counter[str] = field(default_factory=Counter)  # when it was cut short last
    _under_way: str = ""
    _excused: str = ""  # it stopped as it was asked to: that is counted already
    _leaving: bool = False

    def counted(self, task: str) -> None:
        """Hear that the journal counts one, which is about to begin."""
        self.most[task] += 1
        self._under_way, self._excused = task, ""

    def begins(self, task: str) -> None:
        """Hear that one begins."""
        self.least[task] += 1

    def stops(self, task: str) -> None:
        """Hear that one stops as it was asked to: that is no try, unless nobody can write it down."""
        self.least[task] -= 1
        self._excused = task

    def over(self, task: str) -> None:
        """Hear that the journal knows of its end, or puts it off."""
        if self._under_way == task:
            if self._leaving and self._excused != task:  # put off on the way out, by an agent that could not wait
                self.least[task] -= 1
            self._under_way = ""

    def leaves(self) -> None:
        """Hear that the agent stops in good order, whatever becomes of that."""
        self._leaving = True

    def cut_short(self, reached: Callable[[str], int]) -> None:
        """Hear that the child is no more; `reached` tells how far a training's newest checkpoint is."""
        if not self._leaving:
            self._judge(reached)

    def starts(self, reached: Callable[[str], int]) -> None:
        """Hear that the agent is up again; what was under way when it went was cut short."""
        if self._leaving:
            self.least[self._under_way] -= 1
        self._judge(reached)
        self._leaving = False

    def _judge(self, reached: Callable[[str], int]) -> None:
        task, self._under_way = self._under_way, ""
        if task and (step := reached(task)) > self._reached[task]:
            self._reached[task] = step
            self.least[task] = self.most[task] = 0
