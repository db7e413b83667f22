"""The admin API as it is served in the open: with a door, under its own name; and tokens to come with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from headwater_control.core.authority import Role
from headwater_control.gates.http.app import create
from headwater_control.gates.http.auth import Door
from headwater_control.gates.http.health import Part
from headwater_control.service import tokens
from headwater_control.service.world import World

from tests.control_plane.gates.http.test_problems import problem
from tests.fakes.clock import START

NOW = int(START.timestamp())
HOST = "control.example"


@asynccontextmanager
async def behind_the_door(
    world: World, door: Door | None = None, parts: tuple[Part, ...] = ()
) -> AsyncIterator[httpx.AsyncClient]:
    """Call the API as it is served in the open: with TLS, under its own name, and with a door."""
    app = create(world, door=door or Door(), hosts=frozenset({HOST}), parts=parts)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
        yield client


def bearing(text: str) -> dict[str, str]:
    """Send a token."""
    return {"authorization": f"Bearer {text}"}


async def token(world: World, role: Role, name: str = "", **labels: str) -> dict[str, str]:
    """Make a token, and send it."""
    made = await tokens.create(
        world, name or f"{role}-{len(await tokens.list_tokens(world))}", role, tuple(labels.items())
    )
    return bearing(made[1])


def refused(answer: httpx.Response) -> str:
    """Check that an answer is 401 with a challenge (RFC 6750, 3) and the way to a token; give its sentence."""
    detail = str(problem(answer, 401)["detail"])
    assert answer.headers["www-authenticate"].startswith('Bearer realm="headwater"')
    assert "headwater login" in detail
    return detail


async def state(world: World) -> object:
    async with world.store.read() as tx:
        return await tx.audit.head(), await tx.runs.all(), await tx.rollouts.all(), await tx.models.all()
