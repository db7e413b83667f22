"""What every store promises of API tokens."""

from datetime import datetime, timedelta, timezone

import pytest
from headwater_control.core.authority import ApiToken, Role
from headwater_control.ports import AlreadyExists, Store

from tests.support.rows import NOW, later


def token(name: str, number: int = 1, expires_at: datetime | None = None) -> ApiToken:
    """Make one."""
    labels = (("line", "a"), ("site", "north"))
    return ApiToken(f"token-{number}", name, "ab" * 32, Role.OPERATOR, labels, NOW, "token:first", expires_at)


async def test_a_token_comes_back(store: Store) -> None:
    """Whole, alone or listed by id, with its times in UTC; of an unknown id there is none."""
    elsewhere = datetime(2026, 3, 1, 12, 30, 0, 250_000, timezone(timedelta(hours=-5)))
    one, two = token("one", 2, elsewhere), token("two", 1)
    async with store.write() as tx:
        await tx.tokens.add(one)
        await tx.tokens.add(two)
    async with store.read() as tx:
        assert await tx.tokens.get("token-2") == one
        assert await tx.tokens.all() == (two, one)
        assert await tx.tokens.get("token-3") is None


@pytest.mark.parametrize("second", [token("one", 2), token("two", 1)], ids=["name", "id"])
async def test_neither_id_nor_name_is_given_twice(store: Store, second: ApiToken) -> None:
    """Not even a revoked one's; the transaction goes on without it."""
    async with store.write() as tx:
        await tx.tokens.add(token("one"))
        await tx.tokens.revoke("token-1", later(1))
        with pytest.raises(AlreadyExists):
            await tx.tokens.add(second)
        await tx.tokens.add(token("three", 3))
    async with store.read() as tx:
        assert [known.name for known in await tx.tokens.all()] == ["one", "three"]


async def test_uses_and_the_revocation_are_noted(store: Store) -> None:
    """Each for itself, and for that token only; what is not there can't be noted."""
    async with store.write() as tx:
        await tx.tokens.add(token("one", 1))
        await tx.tokens.add(token("two", 2))
        await tx.tokens.use("token-1", later(5))
        await tx.tokens.revoke("token-1", later(9))
        for change in (tx.tokens.use, tx.tokens.revoke):
            with pytest.raises(KeyError):
                await change("token-9", NOW)
    async with store.write() as tx:
        found = await tx.tokens.get("token-1", lock=True)
        assert found is not None
        assert (found.last_used_at, found.revoked_at) == (later(5), later(9))
        assert await tx.tokens.get("token-2") == token("two", 2)


async def test_what_was_rolled_back_was_never_there(store: Store) -> None:
    """A token that failed to be recorded is none."""
    with pytest.raises(ZeroDivisionError):
        async with store.write() as tx:
            await tx.tokens.add(token("one"))
            raise ZeroDivisionError
    async with store.read() as tx:
        assert await tx.tokens.all() == ()
        with pytest.raises(RuntimeError):
            await tx.tokens.add(token("one"))
