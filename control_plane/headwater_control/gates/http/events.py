"""A run as server-sent events: the whole of it first, then what changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from headwater_control.gates.http import schemas
from headwater_control.service import runs
from headwater_control.service.runs import RunView
from headwater_control.service.world import World

LAST_ROUNDS = 3
_SIGN_OF_LIFE_S = 15.0
_AT_MOST_EVERY_S = 0.1


async def follow(world: World, first: RunView, stopping: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield events until the run has ended or we stop; a client that comes again begins with the whole."""
    run = first.run.id
    loop = asyncio.get_running_loop()
    last = _event(first)
    yield last
    spoken_at = loop.time()
    async with aclosing(world.bells.watch(run)) as bells:
        state = first.run.state
        async for _ in bells:
            if state.final or stopping.is_set():
                return
            view = await runs.show_run(world, run, last=LAST_ROUNDS)
            state = view.run.state
            event = _event(view)
            if event != last:
                yield event
                last, spoken_at = event, loop.time()
                await asyncio.sleep(_AT_MOST_EVERY_S)  # a thousand heartbeats a second are no thousand events
            elif loop.time() - spoken_at >= _SIGN_OF_LIFE_S:
                yield b": still here\n\n"
                spoken_at = loop.time()


def _event(view: RunView) -> bytes:
    return b"event: run\ndata: " + schemas.RunDetail.model_validate(view).model_dump_json().encode() + b"\n\n"
