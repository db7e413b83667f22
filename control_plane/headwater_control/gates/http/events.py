"""A run as server-sent events: its newest rounds, then what changes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from headwater_control.gates.http import run_schemas
from headwater_control.service import runs
from headwater_control.service.runs import RunView
from headwater_control.service.world import World

FIRST_ROUNDS = 20  # of the first event: who comes again every few minutes must not be sent a long run each time
LAST_ROUNDS = 3
ENDED_AND_OPEN = 2  # rounds that each event has, however large: that one has ended shows when the next is open
_SIGN_OF_LIFE_S = 15.0
_AT_MOST_EVERY_S = 0.1
_AT_MOST_S = 300.0  # then the client comes again, and shows that its token is still good


async def follow(
    world: World, first: RunView, stopping: asyncio.Event, for_s: float = _AT_MOST_S
) -> AsyncGenerator[bytes, None]:
    """Yield events until the run has ended, we stop, or `for_s` are over; who comes again begins anew."""
    loop = asyncio.get_running_loop()
    view, last, spoken_at = first, b"", loop.time()
    until = spoken_at + for_s
    async with aclosing(world.bells.watch(first.run.id)) as bells:
        async for _ in bells:
            if stopping.is_set() or (last and loop.time() >= until):
                return
            if last:
                view = await runs.show_run(world, first.run.id, last=LAST_ROUNDS, least=ENDED_AND_OPEN)
            event = _event(view)
            if event != last:
                yield event
                last, spoken_at = event, loop.time()
                await asyncio.sleep(_AT_MOST_EVERY_S)  # a thousand heartbeats a second are no thousand events
            elif loop.time() - spoken_at >= _SIGN_OF_LIFE_S:
                yield b": still here\n\n"
                spoken_at = loop.time()
            if view.run.state.final:
                return


def _event(view: RunView) -> bytes:
    return b"event: run\ndata: " + run_schemas.RunDetail.model_validate(view).model_dump_json().encode() + b"\n\n"
