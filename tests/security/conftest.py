"""A control plane with two sites, an identity provider, and the API behind its door."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from headwater_control.core.attempts import Attempts, Pace
from headwater_control.core.runs import RunSpec
from headwater_control.gates.http.auth import Door
from headwater_control.service import rollouts, runs
from headwater_control.service.world import World
from headwater_wire.ids import VersionId

from tests.fakes.world import MODEL, Box, fake_world, import_digits
from tests.support.front import Front, served
from tests.support.front_door import behind_the_door
from tests.support.provider import Provider, provider
from tests.support.stronghold import Stronghold, stronghold


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Put a control plane together: two sites, a run and a rollout in each, and one that spans both."""
    made = fake_world(tmp_path)
    await import_digits(made, tmp_path)
    for site in ("north", "south"):
        await Box(made, f"box-{site}", {"site": site}).register()
    for cohort in ((), (("site", "north"),), (("site", "south"),)):
        await runs.start(made, RunSpec(MODEL, "digits", cohort=cohort))
        await rollouts.start(made, VersionId("digits-1"), cohort)
    return made


@pytest.fixture
def idp() -> Iterator[Provider]:
    """Serve an identity provider."""
    with provider() as serving:
        yield serving


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Call it; only API tokens are taken."""
    async with behind_the_door(world, Door(attempts=Attempts(Pace(1000, 1.0)))) as client:
        yield client


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Stronghold]:
    """Serve enrolment, gateway and broker by TLS."""
    async with stronghold(tmp_path) as made:
        yield made


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """Serve all."""
    async with served(tmp_path) as made:
        yield made
