"""A chain in which nothing can be changed unnoticed."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from headwater_control.core.audit import START, Caller, Deed, Entry, Head, broken, cut, deed, sealed
from headwater_control.core.rollout import RolloutState
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import NOW, rollout

WORD = st.text(max_size=2)
TIMES = st.integers(0, 10**6).map(lambda microseconds: NOW + timedelta(microseconds=microseconds))
LINK = st.tuples(st.builds(Deed, WORD, WORD, WORD, WORD), st.builds(Caller, WORD, WORD, WORD), TIMES)
LINKS = st.lists(LINK, min_size=2, max_size=5)


def other(value: Any) -> Any:
    """Give another value of the same type."""
    match value:
        case int():
            return value + 1
        case datetime():
            return value + timedelta(microseconds=1)
        case _:
            return f"{value}x"


def chain(links: list[tuple[Deed, Caller, datetime]], head: Head = START) -> list[Entry]:
    """Seal them one after the other."""
    entries = []
    for done, caller, at in links:
        entries.append(sealed(head, done, caller, at))
        head = entries[-1].head
    return entries


def problem(entries: list[Entry], head: Head) -> str:
    """Verify a whole log."""
    last = START
    for entry in entries:
        if said := broken(entry, last):
            return said
        last = entry.head
    return cut(last, head)


@given(LINKS)
def test_what_nobody_touched_is_whole(links: list[tuple[Deed, Caller, datetime]]) -> None:
    """Of any length."""
    entries = chain(links)
    assert problem(entries, entries[-1].head) == ""
    assert problem([], START) == ""


@given(LINKS, st.data())
def test_an_edited_entry_is_found(links: list[tuple[Deed, Caller, datetime]], data: st.DataObject) -> None:
    """Whichever field it is, and though its digest may have been computed anew."""
    entries = chain(links)
    head = entries[-1].head
    place = data.draw(st.integers(0, len(entries) - 1))
    old = entries[place]
    name = data.draw(st.sampled_from([field.name for field in fields(Entry)]))
    entries[place] = replace(old, **{name: other(getattr(old, name))})
    assert str(old.number) in problem(entries, head)
    changed = Deed(old.action, old.subject, old.before, old.after + "x")
    entries[place] = sealed(Head(old.number - 1, old.previous), changed, Caller(old.who), old.at)
    assert problem(entries, head)


@given(LINKS, st.data())
def test_a_deleted_entry_is_found(links: list[tuple[Deed, Caller, datetime]], data: st.DataObject) -> None:
    """The first, the last, or one between; and all of them."""
    entries = chain(links)
    head = entries[-1].head
    place = data.draw(st.integers(0, len(entries) - 1))
    gone = entries.pop(place)
    assert f"entry {gone.number} is missing" in problem(entries, head)
    assert "entry 1 is missing" in problem([], head)


@given(LINKS, st.data())
def test_swapped_and_added_entries_are_found(links: list[tuple[Deed, Caller, datetime]], data: st.DataObject) -> None:
    """Their order is sealed, with or without their numbers; and nothing can be put at the end."""
    entries = chain(links)
    head = entries[-1].head
    one, other = data.draw(st.lists(st.integers(0, len(entries) - 1), min_size=2, max_size=2, unique=True))
    swapped = entries.copy()
    swapped[one], swapped[other] = entries[other], entries[one]
    assert problem(swapped, head)
    renumbered = [replace(entry, number=number) for number, entry in enumerate(swapped, 1)]
    assert problem(renumbered, head)
    assert f"entry {head.number + 1} was put in" in problem(chain([*links, links[0]]), head)


@pytest.mark.parametrize("odd", [b"bytes", None, 5])
def test_a_value_of_another_type_is_a_change_like_any_other(odd: Any) -> None:
    """SQLite keeps whatever is written into a column of text."""
    (entry,) = chain([(Deed("run.pause", "run-1", "{}", "{}"), Caller("somebody"), NOW)])
    assert "entry 1 was changed" in broken(replace(entry, after=odd), START)


def test_the_digest_is_what_everybody_can_compute() -> None:
    """It is fixed: a log that was written once must be whole for every release to come."""
    done = Deed("run.pause", "run-1", '{"state":"running"}', '{"state":"paused"}')
    entry = sealed(START, done, Caller("loopback", "127.0.0.1", "request-1"), datetime(2026, 1, 5, 8, tzinfo=UTC))
    assert entry.digest == "5d87bc09097945e7e05ac49718af6df97e1161d74b58641f61167f2ecc6170a3"


def test_a_change_is_told_by_the_fields_that_changed() -> None:
    """Of a new thing all of them; of a change those that differ, before and after."""
    old = rollout()
    made = deed("rollout.start", old.id, None, old)
    assert made.before == "{}"
    assert '"created_at":"2026-01-05T08:00:00+00:00"' in made.after
    assert '"state":"running"' in made.after
    stopped = deed("rollout.cancel", old.id, old, replace(old, state=RolloutState.CANCELLED))
    assert stopped == Deed("rollout.cancel", old.id, '{"state":"running"}', '{"state":"cancelled"}')
