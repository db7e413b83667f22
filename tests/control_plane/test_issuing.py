"""Waiting for a certificate: an authority that hangs holds up certificates, and nothing else."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from headwater_control import issuing
from headwater_control.issuing import issued
from headwater_control.ports import CantIssue


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """What an authority waits for that hangs; it comes at the end."""
    over = threading.Event()
    yield over
    over.set()


async def test_what_an_authority_says_is_handed_on() -> None:
    """Answers and errors."""

    def ask(word: str) -> str:
        if not word:
            raise CantIssue("no")
        return word

    assert await issued(ask, "made") == "made"
    with pytest.raises(CantIssue, match="no"):
        await issued(ask, "")


async def test_one_that_hangs_is_given_up_and_leaves_other_threads_alone(
    hanging: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ask it."""
    monkeypatch.setattr(issuing, "_WITHIN_S", 0.05)
    asked = [asyncio.create_task(issued(hanging.wait)) for _ in range(64)]
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "at once"), 10) == "at once"
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, CantIssue)
        assert "has not answered" in str(answer)
