"""/v1/runs: training, started, steered and watched."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from headwater_wire.ids import RunId, VersionId

from headwater_control.core.runs import NEWEST, RunSpec, RunState
from headwater_control.gates.http import run_schemas, schemas
from headwater_control.gates.http.events import ENDED_AND_OPEN, FIRST_ROUNDS, follow
from headwater_control.gates.http.needs import OPERATOR, VIEWER
from headwater_control.gates.http.within import InWorld
from headwater_control.service import runs

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.post("", status_code=201, dependencies=OPERATOR)
async def start(world: InWorld, request: run_schemas.RunStart) -> run_schemas.Run:
    """Start a run."""
    values = request.model_dump(exclude={"base", "cohort"})
    base = VersionId(request.base) if request.base else NEWEST
    wanted = RunSpec(**values, base=base, cohort=tuple(sorted(request.cohort.items())))
    return run_schemas.Run.model_validate(await runs.start(world, wanted))


@router.get("", dependencies=VIEWER)
async def list_all(world: InWorld, state: Annotated[list[RunState] | None, Query()] = None) -> list[run_schemas.Run]:
    """List the runs in one of the states (none: all), oldest first."""
    return [run_schemas.Run.model_validate(run) for run in await runs.list_runs(world, tuple(state or ()))]


@router.get("/{run}", dependencies=VIEWER)
async def show(
    world: InWorld,
    run: schemas.Name,
    last: Annotated[int, Query(ge=1, le=runs.PAGE)] = runs.PAGE,
    before: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
) -> run_schemas.RunDetail:
    """Show one, round by round: who was asked, who reported, who dropped and why.

    The newest `last` rounds come, or fewer if those have more than about a thousand tasks; with `before`, the newest of
    those before the round of that number.
    """
    return run_schemas.RunDetail.model_validate(await runs.show_run(world, RunId(run), last=last, before=before))


@router.post("/{run}/pause", dependencies=OPERATOR)
async def pause(world: InWorld, run: schemas.Name) -> run_schemas.Run:
    """Open no new round; the open one is finished."""
    return run_schemas.Run.model_validate(await runs.pause(world, RunId(run)))


@router.post("/{run}/resume", dependencies=OPERATOR)
async def resume(world: InWorld, run: schemas.Name) -> run_schemas.Run:
    """Go on after a pause."""
    return run_schemas.Run.model_validate(await runs.resume(world, RunId(run)))


@router.post("/{run}/cancel", dependencies=OPERATOR)
async def cancel(world: InWorld, run: schemas.Name) -> run_schemas.Run:
    """End it and its open tasks; its versions stay."""
    return run_schemas.Run.model_validate(await runs.cancel(world, RunId(run)))


@router.get(
    "/{run}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "server-sent events, each a RunDetail"}},
    dependencies=VIEWER,
)
async def events(world: InWorld, run: schemas.Name, request: Request) -> StreamingResponse:
    """Tell the run as it is, with its newest rounds, then each time it changes with the last, until it has ended."""
    first = await runs.show_run(world, RunId(run), last=FIRST_ROUNDS, least=ENDED_AND_OPEN)
    return StreamingResponse(
        follow(world, first, request.app.state.stopping),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )
