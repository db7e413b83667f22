"""Use cases around API tokens: give them out, take them back, and say who sent one."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from headwater_wire.errors import Malformed
from headwater_wire.ids import check_name

from headwater_control.core.audit import deed
from headwater_control.core.authority import ApiToken, Principal, Role, TokenText, accepted, hashed, parsed, spelled
from headwater_control.ports import AlreadyExists, Busy, Labels
from headwater_control.service.authority import must_reach, principal, sees
from headwater_control.service.caller import caller
from headwater_control.service.errors import Conflict, Forbidden, Invalid, NotFound
from headwater_control.service.work import work
from headwater_control.service.world import World

log = logging.getLogger(__name__)

FIRST = "first"
_NOTED_EVERY = timedelta(minutes=1)
LONGEST_S = 10 * 366 * 86_400.0


async def create(
    world: World,
    name: str,
    role: Role,
    labels: Labels = (),
    ttl_s: float | None = None,
    keep: Callable[[str], None] = lambda _: None,
) -> tuple[ApiToken, str]:
    """Make a token; give what is known of it, and its text, which nobody can read again.

    `keep` gets the text before the token is valid: if that fails, there is no token.

    Raises `Invalid`, `Conflict` if the name was ever taken, or `Forbidden`: nobody gives more than they have.
    """
    _check(name, labels, ttl_s)
    if not principal().may(role):
        raise Forbidden(f"{principal().name} is no {role}: nobody gives more rights than they have")
    must_reach(labels, "give the new token these labels too")
    now = world.clock.now()
    text = TokenText(world.ids.new("token"), world.ids.secret())
    token = ApiToken(
        id=text.id,
        name=name,
        hash=hashed(text.secret),
        role=role,
        labels=tuple(sorted(labels)),
        created_at=now,
        created_by=caller().who,
        expires_at=now + timedelta(seconds=ttl_s) if ttl_s is not None else None,
    )
    try:
        async with work(world) as unit:
            await unit.tx.tokens.add(token)
            unit.deeds.append(deed("token.create", token.id, None, _public(token)))
            keep(spelled(text))
    except AlreadyExists as error:
        raise Conflict(
            f"there is, or was, a token named {name}: choose another name, since the audit log goes by it"
        ) from error
    return token, spelled(text)


async def list_tokens(world: World) -> tuple[ApiToken, ...]:
    """List them, expired and revoked ones too, oldest first."""
    async with world.store.read() as tx:
        return tuple(token for token in await tx.tokens.all() if sees(token.labels))


async def revoke(world: World, token: str) -> ApiToken:
    """End a token's life now; once is enough. Raises `NotFound` or `Forbidden`."""
    async with work(world) as unit:
        found = await unit.tx.tokens.get(token, lock=True)
        if found is None:
            raise NotFound(f"there is no token {token[:80]!r}: `headwater token list` shows them by id")
        must_reach(found.labels, f"the token {found.name} reaches further")
        if found.revoked_at is not None:
            return found
        revoked = replace(found, revoked_at=world.clock.now())
        await unit.tx.tokens.revoke(token, world.clock.now())
        unit.deeds.append(deed("token.revoke", token, _public(found), _public(revoked)))
    return revoked


async def first(world: World, keep: Callable[[str], None] = lambda _: None) -> str | None:
    """Make the first admin token, if there was never any token, and have it kept; its text, or None."""
    async with world.store.read() as tx:
        if await tx.tokens.all():
            return None
    try:
        return (await create(world, FIRST, Role.ADMIN, keep=keep))[1]
    except Conflict:  # another replica began at the same time
        return None


async def authenticate(world: World, text: str) -> Principal:
    """Say who sent a token; raise `BadToken`. When it was last used is kept to the minute."""
    said = parsed(text)
    now = world.clock.now()
    async with world.store.read() as tx:
        known = await tx.tokens.get(said.id)
    who = accepted(known, said, now)
    assert known is not None  # or it would not have been accepted
    if known.last_used_at is None or now - known.last_used_at >= _NOTED_EVERY:
        await _note(world, known)
    return who


async def _note(world: World, token: ApiToken) -> None:
    try:
        async with world.store.write() as tx:
            await tx.tokens.use(token.id, world.clock.now())
    except Busy as error:  # who is right is right, whether it can be noted or not
        log.warning("the use of token %s could not be noted: %s", token.name, error)


def _public(token: ApiToken) -> ApiToken:
    """Leave out what the secret could be checked against."""
    return replace(token, hash="")


def _check(name: str, labels: Labels, ttl_s: float | None) -> None:
    try:
        check_name(name, "name")
        for key, value in labels:
            check_name(key, "label")
            check_name(value, "label value")
    except Malformed as error:
        raise Invalid(str(error)) from error
    if ttl_s is not None and not 1 <= ttl_s <= LONGEST_S:
        raise Invalid(f"ttl_s is {ttl_s:g}: from 1 s to ten years, or none for a token that does not expire")
