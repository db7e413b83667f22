"""Who may do what, and what proves it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from headwater_control.core.authority import (
    ApiToken,
    BadToken,
    Principal,
    Role,
    TokenText,
    accepted,
    hashed,
    looks_like_ours,
    parsed,
    spelled,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
SECRET = bytes(range(32))
TEXT = TokenText("token-1", SECRET)
TOKEN = ApiToken("token-1", "ci", hashed(SECRET), Role.OPERATOR, (("site", "north"),), NOW, "token:first")
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")).map(lambda pairs: tuple(sorted(pairs.items())))


def test_each_role_includes_those_before() -> None:
    """viewer < operator < approver < admin; without a role nothing is allowed."""
    for number, role in enumerate(Role):
        assert [Principal("p", role).may(needed) for needed in Role] == [number >= other for other in range(4)]
    assert not any(Principal("p", None).may(needed) for needed in Role)
    assert list(Role) == ["viewer", "operator", "approver", "admin"]


@given(LABELS, LABELS)
def test_limits_reach_what_has_all_of_them(
    limits: tuple[tuple[str, str], ...], labels: tuple[tuple[str, str], ...]
) -> None:
    """And more labels, never fewer or others."""
    assert Principal("p", Role.ADMIN, limits).reaches(labels) == all(pair in labels for pair in limits)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", fullmatch=True), st.binary(min_size=32, max_size=32))
def test_a_token_is_read_as_it_was_written(token: str, secret: bytes) -> None:
    """Whatever its id and secret; printed, it does not show the secret."""
    text = spelled(TokenText(token, secret))
    assert looks_like_ours(text)
    assert parsed(text) == TokenText(token, secret)
    assert secret.hex() not in repr(parsed(text))


@given(st.data())
def test_a_token_with_one_wrong_character_is_damaged(data: st.DataObject) -> None:
    """It is told apart from a foreign one, so that a copying mistake is not looked for in the database."""
    text = spelled(TEXT)
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.characters(min_codepoint=33, max_codepoint=255).filter(lambda c: c != text[place]))
    with pytest.raises(BadToken, match="damaged"):
        parsed(text[:place] + wrong + text[place + 1 :])


@given(st.text(max_size=120) | st.text(max_size=100).map("hw_".__add__))
def test_nothing_else_is_a_token(text: str) -> None:
    """Any text is refused in the same words."""
    with pytest.raises(BadToken, match="damaged"):
        parsed(text)


def test_a_good_token_says_who_comes() -> None:
    """By its name, with its role and limits, until the second it expires in."""
    expiring = replace(TOKEN, expires_at=NOW + timedelta(seconds=1))
    who = Principal("token:ci", Role.OPERATOR, (("site", "north"),))
    assert accepted(TOKEN, TEXT, NOW) == accepted(expiring, TEXT, NOW) == who


@pytest.mark.parametrize(
    ("known", "sent", "why"),
    [
        (None, TEXT, "no such token"),
        (TOKEN, TokenText("token-1", bytes(32)), "no such token"),
        (replace(TOKEN, revoked_at=NOW), TokenText("token-1", bytes(32)), "no such token"),
        (replace(TOKEN, revoked_at=NOW), TEXT, "ci was revoked"),
        (replace(TOKEN, expires_at=NOW), TEXT, "ci expired at 2026-01-05 08:00 UTC"),
    ],
)
def test_a_bad_token_is_refused_with_the_reason(known: ApiToken | None, sent: TokenText, why: str) -> None:
    """Whoever has the secret learns why; whoever has not, not even that there is such a token."""
    with pytest.raises(BadToken, match=why) as refused:
        accepted(known, sent, NOW)
    assert sent.secret.hex() not in str(refused.value)
