"""API tokens: given out, taken back, and who sent one."""

import asyncio
import json
from pathlib import Path

import pytest
from headwater_control.core.audit import Caller
from headwater_control.core.authority import BadToken, Principal, Role, parsed
from headwater_control.ports import Labels
from headwater_control.service import audit, tokens
from headwater_control.service.authority import acting
from headwater_control.service.caller import calling
from headwater_control.service.errors import Conflict, Forbidden, Invalid, NotFound
from headwater_control.service.world import World

from tests.fakes.clock import FakeClock
from tests.fakes.world import fake_world
from tests.support import stores

NORTH: Labels = (("site", "north"),)


def clock(world: World) -> FakeClock:
    """Give the world's clock."""
    assert isinstance(world.clock, FakeClock)
    return world.clock


async def test_a_token_says_who_sends_it_until_it_expires(world: World) -> None:
    """Its principal has its role and labels; only the SHA-256 of its secret is kept."""
    made, text = await tokens.create(world, "ci", Role.OPERATOR, NORTH, ttl_s=60)
    assert await tokens.authenticate(world, text) == Principal("token:ci", Role.OPERATOR, NORTH)
    (known,) = await tokens.list_tokens(world)
    assert parsed(text).secret.hex() not in repr(known)
    assert (known.id, known.created_by, known.last_used_at) == (made.id, "control plane", clock(world).now())
    await clock(world).advance(60)
    with pytest.raises(BadToken, match="expired"):
        await tokens.authenticate(world, text)


async def test_its_use_is_noted_once_a_minute(world: World) -> None:
    """A client that polls costs no write each time."""
    _, text = await tokens.create(world, "ci", Role.VIEWER)
    used = []
    for _ in range(4):
        await tokens.authenticate(world, text)
        used.append((await tokens.list_tokens(world))[0].last_used_at)
        await clock(world).advance(29)
    start = used[0]
    assert start is not None
    assert [(at - start).total_seconds() for at in used if at] == [0, 0, 0, 87]


@pytest.mark.parametrize("opener", [stores.memory, stores.sqlite])
async def test_who_is_right_gets_in_though_it_cannot_be_noted(opener: stores.Opener, tmp_path: Path) -> None:
    """While another transaction does not end, reading is enough."""
    async with opener(tmp_path, wait_s=0.05) as store:
        world = fake_world(tmp_path, store=store)
        _, text = await tokens.create(world, "ci", Role.VIEWER)
        async with world.store.write():
            assert await tokens.authenticate(world, text) == Principal("token:ci", Role.VIEWER)
        assert (await tokens.list_tokens(world))[0].last_used_at is None


async def test_a_revoked_token_is_refused_at_once(world: World) -> None:
    """To revoke it again changes nothing; what was never there can't be revoked."""
    made, text = await tokens.create(world, "ci", Role.VIEWER)
    revoked = await tokens.revoke(world, made.id)
    await clock(world).advance(5)
    assert await tokens.revoke(world, made.id) == revoked
    with pytest.raises(BadToken, match="revoked"):
        await tokens.authenticate(world, text)
    with pytest.raises(NotFound, match="token-9"):
        await tokens.revoke(world, "token-9")


async def test_both_are_in_the_audit_log_without_a_secret(world: World) -> None:
    """Who gave whom what, and who took it back; neither secret nor its hash."""
    with calling(Caller("token:boss", "192.0.2.1", "request-7")):
        made, text = await tokens.create(world, "ci", Role.OPERATOR, NORTH, ttl_s=60)
        await tokens.revoke(world, made.id)
        await tokens.revoke(world, made.id)
    one, two = (await audit.list_entries(world, None, 100))[-2:]
    assert [(entry.action, entry.subject, entry.who) for entry in (one, two)] == [
        ("token.create", made.id, "token:boss"),
        ("token.revoke", made.id, "token:boss"),
    ]
    after = json.loads(one.after)
    assert (after["name"], after["role"], after["labels"], after["created_by"]) == (
        "ci", "operator", [["site", "north"]], "token:boss",
    )  # fmt: skip
    assert list(json.loads(two.after)) == ["revoked_at"]
    for secret in (made.hash, parsed(text).secret.hex()):
        assert secret not in repr((one, two))


async def test_a_name_is_given_once(world: World) -> None:
    """Not even a revoked token's is free again: the audit log would mean two."""
    made, _ = await tokens.create(world, "ci", Role.VIEWER)
    await tokens.revoke(world, made.id)
    with pytest.raises(Conflict, match="named ci"):
        await tokens.create(world, "ci", Role.VIEWER)


@pytest.mark.parametrize(
    ("name", "labels", "ttl_s"),
    [("", (), None), ("a b", (), None), ("ci", (("site", "a b"),), None), ("ci", (), 0), ("ci", (), float("nan"))],
)
async def test_what_makes_no_sense_is_refused(world: World, name: str, labels: Labels, ttl_s: float | None) -> None:
    """Names, labels, and lives of no time."""
    with pytest.raises(Invalid):
        await tokens.create(world, name, Role.VIEWER, labels, ttl_s)


async def test_nobody_gives_more_than_they_have(world: World) -> None:
    """Neither a higher role nor a wider reach; and nobody sees or revokes what reaches further."""
    wide, _ = await tokens.create(world, "wide", Role.VIEWER)
    with acting(Principal("token:site", Role.ADMIN, NORTH)):
        for labels in ((), (("site", "south"),)):
            with pytest.raises(Forbidden, match="site=north"):
                await tokens.create(world, "new", Role.VIEWER, labels)
        made, _ = await tokens.create(world, "new", Role.ADMIN, (*NORTH, ("line", "a")))
        assert await tokens.list_tokens(world) == (made,)
        with pytest.raises(Forbidden, match="site=north"):
            await tokens.revoke(world, wide.id)
        await tokens.revoke(world, made.id)
    with acting(Principal("token:low", Role.OPERATOR)), pytest.raises(Forbidden, match="no admin"):
        await tokens.create(world, "more", Role.ADMIN)


async def test_the_first_token_is_made_once(world: World) -> None:
    """An admin's, without limits or end; where there was ever a token, there is no first one."""
    text = await tokens.first(world)
    assert text is not None
    assert await tokens.authenticate(world, text) == Principal("token:first", Role.ADMIN)
    assert await tokens.first(world) is None
    (made,) = await tokens.list_tokens(world)
    assert made.expires_at is None
    await tokens.revoke(world, made.id)
    assert await tokens.first(world) is None


async def test_a_first_token_that_can_t_be_kept_is_none(world: World) -> None:
    """Else nobody would ever know it: the next start makes one."""

    def keep(text: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        await tokens.first(world, keep)
    assert await tokens.list_tokens(world) == ()
    kept: list[str] = []
    assert [await tokens.first(world, kept.append)] == kept


async def test_of_replicas_that_start_at_once_one_makes_it(world: World) -> None:
    """The others say nothing."""
    made = await asyncio.gather(*(tokens.first(world) for _ in range(5)))
    assert len([text for text in made if text]) == 1
