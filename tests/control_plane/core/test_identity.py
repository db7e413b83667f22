"""Who may be in the fleet: the rules of invitations, places and labels."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from headwater_control.core.identity import (
    Barred,
    Invite,
    Labels,
    Standing,
    admitted,
    hashed,
    labelled,
    occupied,
    unusable,
)
from headwater_wire.ids import DeviceId
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 5, tzinfo=UTC)
BOX = DeviceId("box-1")
OTHER = DeviceId("box-2")
OPEN = Invite("invite-1", "ab", NOW, "token:boss", NOW + timedelta(hours=1))
LABELS: st.SearchStrategy[Labels] = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")).map(
    lambda told: tuple(sorted(told.items()))
)


@given(st.integers(1, 5), st.integers(0, 6), st.integers(-10, 10))
def test_an_invitation_admits_while_it_has_time_and_uses(uses: int, used: int, seconds: int) -> None:
    """To the second, and to the last use; else it says why not."""
    invite = replace(OPEN, uses=uses, used=used)
    now = OPEN.expires_at + timedelta(seconds=seconds)
    assert (unusable(invite, now) == "") == (seconds < 0 and used < uses)


def test_what_is_wrong_with_an_invitation_is_told() -> None:
    """Unknown, expired and used up are different sentences."""
    assert "no such invitation" in unusable(None, NOW)
    assert "expired at 2026-01-05 01:00:00 UTC" in unusable(OPEN, NOW + timedelta(hours=1))
    assert "once only" in unusable(replace(OPEN, used=1), NOW)
    assert "3 times only" in unusable(replace(OPEN, uses=3, used=3), NOW)


def test_a_taken_id_is_given_only_by_an_invitation_for_it() -> None:
    """An open one never replaces a box; the refusal says which command does."""
    there = Standing(BOX, NOW)
    assert occupied(OPEN, BOX, None) == ""
    assert "--device box-1" in occupied(OPEN, BOX, there)
    assert occupied(replace(OPEN, device=BOX), BOX, there) == ""
    assert occupied(replace(OPEN, device=OTHER), BOX, there)


@given(LABELS, LABELS, st.booleans())
def test_who_is_admitted_is_enabled_with_the_labels_of_the_invitation(
    given_: Labels, had: Labels, disabled: bool
) -> None:
    """An invitation without labels leaves those that an earlier one gave; it counts one use, and ends with its last."""
    before = Standing(BOX, NOW - timedelta(days=9), had, NOW if disabled else None, "stolen" if disabled else "")
    invite, standing = admitted(replace(OPEN, labels=given_), BOX, before, NOW)
    assert invite == replace(OPEN, labels=given_, used=1, ended_at=NOW)
    assert admitted(replace(OPEN, uses=2), BOX, before, NOW)[0] == replace(OPEN, uses=2, used=1)
    assert standing == Standing(BOX, before.enrolled_at, given_ or had)
    assert admitted(OPEN, BOX, None, NOW)[1] == Standing(BOX, NOW)


@given(LABELS, LABELS)
def test_labels_that_were_given_beat_those_that_are_told(told: Labels, given_: Labels) -> None:
    """Whatever a box says of itself; what it alone knows, stays."""
    labels = dict(labelled(told, given_))
    assert labels == {**dict(told), **dict(given_)}
    assert labelled(told, given_) == tuple(sorted(labels.items()))


def test_a_barred_device_has_no_good_certificate_and_a_barred_certificate_is_one_only() -> None:
    """The device's other ones still count."""
    barred = Barred(frozenset({BOX}), frozenset({"a1"}))
    assert [barred.bars(device, serial) for device in (BOX, OTHER) for serial in ("a1", "b2")] == [
        True, True, True, False,
    ]  # fmt: skip


def test_neither_secret_nor_hash_is_printed() -> None:
    """Of an invitation that somebody logs, nothing helps to get in."""
    assert "abababab" not in repr(replace(OPEN, hash="abababab"))
    assert hashed(b"secret") == hashed(b"secret") != hashed(b"Secret")


@pytest.mark.parametrize("when", [NOW, NOW + timedelta(minutes=59)])
def test_a_fresh_invitation_admits(when: datetime) -> None:
    """Until its end."""
    assert unusable(OPEN, when) == ""
