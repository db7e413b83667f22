"""An event loop in virtual time, whose choices one generator of random numbers makes: no clock, thread or socket."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from itertools import count
from math import inf, nextafter
from random import Random
from typing import Any

Turn = deque[asyncio.Handle]


class Crashed(BaseException):
    """Raised in a process that has just died: nothing it does any more reaches the world."""


class Process:
    """A program that can be killed between any two steps. Its monotonic clock has a zero and a pace of its own."""

    def __init__(self, loop: "SimulatedLoop", name: str, *, zero_s: float = 0.0, pace: float = 1.0) -> None:
        self.name = name
        self.alive = True
        self.turn: Turn = deque()
        self.died: list[Callable[[], None]] = []
        self._loop = loop
        self._tasks: list[asyncio.Task[Any]] = []
        self._zero_s = zero_s
        self._pace = pace
        self._context = copy_context()
        self._context.run(_HERE.set, self)

    def start(self, main: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run a coroutine as a part of this process."""
        return self._loop.create_task(main, name=name, context=self._context.copy())

    def kill(self) -> None:
        """End it here and now: what it still does on its way out happens in a world that nobody sees."""
        if not self.alive:
            return
        self.alive = False
        self._loop.bury(self)
        for told in self.died:
            told()
        for task in self._tasks:
            task.cancel()

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """Count a task as this process's."""
        if len(self._tasks) > 200:
            self._tasks = [known for known in self._tasks if not known.done()]
        self._tasks.append(task)

    def local_s(self, world_s: float) -> float:
        """Tell what its clock shows."""
        return (world_s - self._zero_s) * self._pace

    def world_s(self, local_s: float) -> float:
        """Tell when its clock shows so much, and not a rounding less."""
        world_s = local_s / self._pace + self._zero_s
        while self.local_s(world_s) < local_s:
            world_s = nextafter(world_s, inf)
        return world_s


_HERE: ContextVar[Process | None] = ContextVar("process", default=None)


def here() -> Process | None:
    """Tell whose step this is; None: the world's own."""
    return _HERE.get()


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where in memory it lies."""

    _numbers = count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._number = next(_Task._numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one callback at a time, of a process drawn among those that have some; within one, first come, first served.

    When nobody has anything to do it is the next timer's time at once. What would run in a thread runs as one step,
    after a drawn delay.
    """

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._stopping = False
        self.now_s = 0.0
        self.steps = 0
        self.falls = 0.0  # the probability that a process dies at a step of its
        self.troubles: list[str] = []
        self._chance = chance
        self._outside = Context()  # no process's
        self._world: Turn = deque()
        self._busy: list[tuple[Process | None, Turn]] = []
        self._limbo: Turn = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        _Task._numbers = count()
        self.set_task_factory(_made)  # type: ignore[arg-type]
        self.set_exception_handler(_told)  # type: ignore[arg-type]

    def time(self) -> float:
        """Tell what the clock of the process shows that asks."""
        process = _HERE.get()
        return self.now_s if process is None else process.local_s(self.now_s)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call when the clock of the process shows `when`."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        process = _whose(timer)
        at = when if process is None else process.world_s(when)
        heapq.heappush(self._timers, (at, next(self._numbers), timer))
        return timer

    def later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Have the world itself do something, after so long."""
        timer = asyncio.TimerHandle(self.now_s + delay_s, callback, args, self, self._outside.copy())
        heapq.heappush(self._timers, (self.now_s + delay_s, next(self._numbers), timer))

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Do a thread's work in one step, at once or a little later."""
        future = self.create_future()
        process = _HERE.get()
        drawn = self._chance.random() if process is None or process.alive else 0.0
        if drawn < 0.7:
            self.call_soon(self._work, future, func, args)
        else:
            self.call_later((drawn - 0.7) ** 4, self._work, future, func, args)  # 8 ms at most
        return future

    def bury(self, process: Process) -> None:
        """Let what a dead process has still to do happen before everything else, and draw nothing for it."""
        self._busy[:] = [(other, turn) for other, turn in self._busy if other is not process]
        self._limbo.extend(process.turn)
        process.turn.clear()

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._queue(handle)
        return handle

    def _queue(self, handle: asyncio.Handle) -> None:
        process = _whose(handle)
        if process is not None and not process.alive:
            self._limbo.append(handle)
            return
        turn = self._world if process is None else process.turn
        if not turn:
            self._busy.append((process, turn))
        turn.append(handle)

    def _run_once(self) -> None:
        chance, busy, limbo = self._chance.random, self._busy, self._limbo
        while not self._stopping:
            if limbo:
                _run(limbo.popleft())
                continue
            if not busy:
                self._leap()
                continue
            self.steps += 1
            place = int(chance() * len(busy)) if len(busy) > 1 else 0
            process, turn = busy[place]
            if self.falls and process is not None and chance() < self.falls:
                process.kill()
                continue
            handle = turn.popleft()
            if not turn:
                busy[place] = busy[-1]
                busy.pop()
            if not handle._cancelled:  # half a call less for each step
                handle._run()

    def _leap(self) -> None:
        if not self._timers:
            raise RuntimeError("everybody waits for something that nobody will ever do")
        self.now_s = max(self.now_s, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self.now_s:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled():
                self._queue(timer)

    def _work(self, future: "asyncio.Future[Any]", func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if future.cancelled() and self._chance.random() < 0.5:  # else the thread had begun already
            return
        try:
            result = func(*args)
        except BaseException as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, None]) -> None:
        with suppress(BaseException):
            agen.aclose().send(None)  # as a task it would come when the collector likes

    def _write_to_self(self) -> None:
        pass  # nobody sleeps in a system call

    def _process_events(self, event_list: object) -> None:
        pass  # there are none


def _run(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()


def _whose(handle: asyncio.Handle) -> Process | None:
    return handle._context.get(_HERE)  # type: ignore[attr-defined,no-any-return]


def _made(loop: SimulatedLoop, coro: Coroutine[Any, Any, Any], context: Context | None = None, **named: Any) -> _Task:
    task = _Task(coro, loop=loop, context=context, **named)
    process = context.get(_HERE) if context is not None else _HERE.get()
    if process is not None:
        process.adopt(task)
    return task


def _told(loop: SimulatedLoop, trouble: dict[str, Any]) -> None:
    """Note what nobody caught; of a dying process it means nothing."""
    error = trouble.get("exception")
    if not isinstance(error, Crashed | asyncio.CancelledError | BaseExceptionGroup):
        loop.troubles.append(f"{trouble.get('message')}: {error!r}")
