"""A run of very many rounds is read page by page."""

from contextlib import closing
from typing import Any

import pytest
from headwater.records import RunDetail, Scores
from headwater.runs import Runs
from headwater.transport import Query, Transport

from tests.support.made_up import round_of, run_of

ROOM = 4  # rounds an answer


class Paging(Transport):
    """Answers as the control plane does, of a run with so many rounds."""

    rounds = 0
    asked = 0

    def get(self, kind: Any, path: str, query: Query = ()) -> Any:
        """Give the newest rounds, or those before one."""
        self.asked += 1
        given = {name: int(value) for name, value in query}
        ends = min(given.get("before", self.rounds + 1), self.rounds + 1)
        numbers = range(max(1, ends - min(ROOM, given.get("last", ROOM))), ends)
        scores = Scores(0, 0, None, 0, None)
        return RunDetail(run_of(self.rounds), tuple(round_of(number, scores) for number in numbers))


@pytest.mark.parametrize("rounds", [0, 1, ROOM, ROOM + 1, 3 * ROOM + 2])
@pytest.mark.parametrize("last", [0, 1, ROOM, ROOM + 1, 99])
def test_as_many_rounds_are_read_as_were_asked_for_each_once(rounds: int, last: int) -> None:
    """In their order, and with no more answers than it takes."""
    with closing(Paging("http://127.0.0.1:1", 1.0)) as transport:
        transport.rounds = rounds
        detail = Runs(transport).show("run-1", last=last)
    wanted = min(last or rounds, rounds)
    assert [found.number for found in detail.rounds] == list(range(rounds - wanted + 1, rounds + 1))
    assert transport.asked == max(1, -(-wanted // ROOM))
