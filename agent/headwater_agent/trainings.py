"""Trainings in the worker: within the owner's minutes, and stopped at a checkpoint when their conditions are lost."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import SIGTERM

from headwater_wire.ids import TaskId

from headwater_agent.core.policy import refusal
from headwater_agent.ports import Died, Worker
from headwater_agent.training.protocol import Refused, Reply, Stepped, Stopped, Train

PREPARE_S = 1800.0  # before a training's first step: the child may be looking at a dataset, and must open one
PAUSE_S = 30.0  # for the end of a step and a checkpoint; a child that takes longer is ended, as if it had died


@dataclass
class Trainings:
    """Those under way, by task: each can be asked to stop."""

    worker: Worker
    _wishes: dict[TaskId, asyncio.Event] = field(default_factory=dict)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Begin with none."""
        self._idle.set()

    @contextmanager
    def begun(self, task: TaskId) -> Iterator[asyncio.Event]:
        """Give what is set when the task's training is to stop, from now on until the context ends."""
        self._wishes[task] = wish = asyncio.Event()
        self._idle.clear()
        try:
            yield wish
        finally:
            del self._wishes[task]
            if not self._wishes:
                self._idle.set()

    def pause(self, task: TaskId) -> None:
        """Have a training stop, if there is one."""
        if wish := self._wishes.get(task):
            wish.set()

    async def ended(self) -> None:
        """Wait until none is under way."""
        await self._idle.wait()

    async def run(self, job: Train, minutes: float, wish: asyncio.Event, told: Callable[[Stepped], None]) -> Reply:
        """Train until the end, or until the wish is uttered: then the reply is `Stopped`, unless it was faster.

        From the first step on it may take so many minutes; 0: as long as it takes. Raise `Died` as the worker does, and
        if it does not stop in time.
        """
        work = asyncio.create_task(self._within(job, minutes, told), name=f"training.{job.task}")
        heard = asyncio.create_task(wish.wait(), name=f"training.{job.task}.pause")
        try:
            await asyncio.wait([work, heard], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.worker.interrupt()
                await asyncio.wait([work], timeout=PAUSE_S)
            if not work.done():
                raise Died(f"it did not stop within {PAUSE_S:g} s of being asked to")
            return work.result()
        except Died as error:
            if wish.is_set() and error.code == -SIGTERM:  # it was asked to end before it could listen
                return Stopped()
            raise
        finally:
            heard.cancel()
            work.cancel()
            await asyncio.wait([work])

    async def _within(self, job: Train, minutes: float, told: Callable[[Stepped], None]) -> Reply:
        started = False

        def step(message: Stepped) -> None:
            nonlocal started
            if minutes and not started:
                limit.reschedule(asyncio.get_running_loop().time() + minutes * 60)
            started = True
            told(message)

        try:
            async with asyncio.timeout(PREPARE_S + minutes * 60 if minutes else None) as limit:
                return await self.worker.run(job, step)
        except TimeoutError:
            if not limit.expired():
                raise
            return Refused(refusal("max_minutes", f"is {minutes:g}, and the training took longer"))
