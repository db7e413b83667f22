"""/v1/tokens and /v1/whoami: who may do what here."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from headwater_control.core.authority import Role
from headwater_control.gates.http import schemas
from headwater_control.gates.http.needs import ADMIN, VIEWER
from headwater_control.gates.http.within import InWorld
from headwater_control.service import tokens
from headwater_control.service.authority import principal

_TTL_S = 90 * 86_400.0

router = APIRouter(tags=["tokens"])


class TokenCreate(BaseModel):
    """A request for a token; `labels` limit it to devices, runs and rollouts that have all of them."""

    model_config = ConfigDict(extra="forbid")

    name: schemas.Name
    role: Role = Role.VIEWER
    labels: dict[schemas.Name, schemas.Name] = Field(default_factory=dict)
    ttl_s: Annotated[
        float | None,
        Field(ge=1, le=tokens.LONGEST_S, allow_inf_nan=False, description="seconds; null: it does not expire"),
    ] = _TTL_S


class Token(schemas.Record):
    """What is known of a token: everything but the secret."""

    id: str
    name: str
    role: Role
    labels: schemas.Labels
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewToken(schemas.Record):
    """A token with its text, which is told this once."""

    token: Token
    text: str


class WhoAmI(schemas.Record):
    """Who asks, and what they may do. Role null: nothing. `until`: when the token ends; null: never."""

    name: str
    role: Role | None
    labels: schemas.Labels
    until: datetime | None


@router.get("/v1/whoami", dependencies=VIEWER)
async def whoami() -> WhoAmI:
    """Say who is asking."""
    return WhoAmI.model_validate(principal())


@router.post("/v1/tokens", status_code=201, dependencies=ADMIN)
async def create(world: InWorld, request: TokenCreate) -> NewToken:
    """Make a token. Its text can't be read again."""
    labels = tuple(sorted(request.labels.items()))
    token, text = await tokens.create(world, request.name, request.role, labels, request.ttl_s)
    return NewToken(token=Token.model_validate(token), text=text)


@router.get("/v1/tokens", dependencies=ADMIN)
async def list_all(world: InWorld) -> list[Token]:
    """List the tokens, expired and revoked ones too, oldest first."""
    return [Token.model_validate(token) for token in await tokens.list_tokens(world)]


@router.post("/v1/tokens/{token}/revoke", dependencies=ADMIN)
async def revoke(world: InWorld, token: schemas.Name) -> Token:
    """End a token's life now."""
    return Token.model_validate(await tokens.revoke(world, token))
