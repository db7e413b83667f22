"""The HTTP API, put together."""

import asyncio
from importlib.metadata import version

from fastapi import FastAPI

from headwater_control.gates.http import audit, devices, health, models, page, problems, rollouts, runs, tokens
from headwater_control.gates.http import enrolment as identity
from headwater_control.gates.http.auth import Door, Doorkeeper
from headwater_control.gates.http.callers import Callers
from headwater_control.gates.http.enrolment import Enrolment
from headwater_control.gates.http.guard import Guard
from headwater_control.gates.http.health import Part
from headwater_control.gates.http.secure import Secure
from headwater_control.service.world import World


def create(
    world: World,
    *,
    parts: tuple[Part, ...] = (),
    stopping: asyncio.Event | None = None,
    file_limit_bytes: int = 2**31,
    door: Door | None = None,
    hosts: frozenset[str] = frozenset(),
    enrolment: Enrolment | None = None,
) -> FastAPI:
    """Make the app. `parts` decide on readiness; once `stopping` is set, event streams end.

    Without a `door` whoever reaches it may do everything. `hosts` are the names it may be called by, beside loopback.
    `enrolment` says where boxes get a certificate, if they need one.
    """
    app = FastAPI(
        title="Headwater control plane",
        version=version("headwater"),
        docs_url=None,  # FastAPI's page needs the internet: page.py
        openapi_url=None,  # likewise: a route of FastAPI's own would ask for no role
        redoc_url=None,
        responses={
            "4XX": {"model": problems.Problem, "description": "a problem (RFC 9457), as " + problems.MEDIA_TYPE}
        },
    )
    app.state.world = world
    app.state.parts = parts
    app.state.enrolment = enrolment
    app.state.stopping = stopping or asyncio.Event()
    problems.install(app)
    if door is not None:
        app.add_middleware(Doorkeeper, door=door)
    app.add_middleware(Guard, file_limit_bytes=file_limit_bytes, uploads=models.UPLOADS, hosts=hosts)
    app.add_middleware(Callers)  # around the guard: what that refuses has a request id too
    app.add_middleware(Secure)
    for module in (health, devices, models, runs, rollouts, audit, tokens, identity, page):
        app.include_router(module.router)
    return app
