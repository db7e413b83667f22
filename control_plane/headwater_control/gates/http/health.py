"""/v1/health: alive is that a port answers, ready that the parts behind it work."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from headwater_control.core.authority import Role
from headwater_control.gates.http import schemas
from headwater_control.gates.http.within import InWorld
from headwater_control.service.authority import principal
from headwater_control.service.world import World

_STORE_S = 2.0


@dataclass(frozen=True, slots=True)
class Part:
    """Something that must work; `problem` says what it means when it doesn't."""

    works: Callable[[], bool]
    problem: str


async def _health(request: Request, world: InWorld) -> schemas.Health:
    parts: tuple[Part, ...] = request.app.state.parts
    problems = [part.problem for part in parts if not part.works()]
    if not await _store_answers(world):
        problems.append("the database does not answer")
    if not principal().may(Role.VIEWER):  # a stranger need not know which release this is, and what ails it
        return schemas.Health(ready=not problems, version="", problems=[])
    return schemas.Health(ready=not problems, version=version("headwater"), problems=problems)


async def _store_answers(world: World) -> bool:
    try:
        async with asyncio.timeout(_STORE_S), world.store.read() as transaction:
            await transaction.audit.head()  # one row, however large the database is
    except Exception:  # whatever a database driver raises when it is gone
        return False
    return True


Found = Annotated[schemas.Health, Depends(_health)]
router = APIRouter(prefix="/v1/health", tags=["health"])


@router.get("")
async def show(health: Found) -> schemas.Health:
    """Tell which part doesn't work, if one doesn't; always 200."""
    return health


@router.get("/live", status_code=204)
async def live() -> Response:
    """Answer, if anything answers at all."""
    return Response(status_code=204)


@router.get("/ready", responses={503: {"model": schemas.Health}})
async def ready(health: Found, response: Response) -> schemas.Health:
    """200 if requests can be served and runs advance; else 503 with the reasons."""
    response.status_code = 200 if health.ready else 503
    return health
