"""The HTTP API, put together."""

import asyncio
from importlib.metadata import version

from fastapi import FastAPI

from headwater_control.gates.http import audit, devices, health, models, page, problems, rollouts, runs
from headwater_control.gates.http.callers import Callers
from headwater_control.gates.http.guard import Guard
from headwater_control.gates.http.health import Part
from headwater_control.service.world import World


def create(
    world: World, *, parts: tuple[Part, ...] = (), stopping: asyncio.Event | None = None, file_limit_bytes: int = 2**31
) -> FastAPI:
    """Make the app. `parts` decide on readiness; once `stopping` is set, event streams end."""
    app = FastAPI(
        title="Headwater control plane",
        version=version("headwater"),
        docs_url=None,  # FastAPI's page needs the internet: page.py
        redoc_url=None,
        responses={
            "4XX": {"model": problems.Problem, "description": "a problem (RFC 9457), as " + problems.MEDIA_TYPE}
        },
    )
    app.state.world = world
    app.state.parts = parts
    app.state.stopping = stopping or asyncio.Event()
    problems.install(app)
    app.add_middleware(Guard, file_limit_bytes=file_limit_bytes, uploads=models.UPLOADS)
    app.add_middleware(Callers)  # around the guard: what that refuses has a request id too
    for module in (health, devices, models, runs, rollouts, audit, page):
        app.include_router(module.router)
    return app
