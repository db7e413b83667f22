"""The training child: started when there is work, kept warm for a while, killed with its whole process group."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress

from headwater_agent.edges.enclosure import Enclosure, View
from headwater_agent.ports import Died
from headwater_agent.training import protocol
from headwater_agent.training.protocol import Job, Refused, Reply, Stepped, Stopped

_LINE_LIMIT = 1 << 20  # a dataset card of ten thousand columns fits
_DEATH_S = 10.0  # from the signal. Longer takes who is stuck in the kernel, or (Python 3.11) whose kin has its pipes
_LOOK_S = 10.0
_SILENT = "a dataset's storage does not answer: see headwater-agent doctor"
_LOG_LIMIT = 2000  # characters of a line of the child's that go into our log
_log = logging.getLogger(__name__)


def worker_command(engine: str, memory: str = "normal", io_priority: str = "normal") -> tuple[str, ...]:
    """Say how the child is started."""
    python = (sys.executable, "-P")  # it imports nothing from the folder that the agent was started in
    how = ("--engine", engine, "--memory", memory, "--io-priority", io_priority)
    return (*python, "-m", "headwater_agent.training.worker", *how)


class Child:
    """One running child."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._last_words = ""
        self._listener = asyncio.create_task(self._listen(), name=f"worker.{process.pid}.stderr")

    @classmethod
    async def start(cls, command: Sequence[str], nice: int) -> "Child":
        """Start it, in a process group of its own; raise `Died` if that can't be done."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LINE_LIMIT,
                start_new_session=True,
            )
        except OSError as error:
            raise Died(f"the worker can't be started: {error.strerror}") from error
        with suppress(OSError):  # it may be gone already
            os.setpriority(os.PRIO_PROCESS, process.pid, nice)
        _log.info("worker %d started", process.pid)
        return cls(process)

    @property
    def alive(self) -> bool:
        """Say whether it can take a job."""
        return self._process.returncode is None

    async def do(self, job: Job, on_step: Callable[[Stepped], None]) -> Reply:
        """Do one job; raise `Died` if the child ends, or talks nonsense, before it answers."""
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        try:
            self._process.stdin.write(protocol.dump(job))
            await self._process.stdin.drain()
            while line := await self._process.stdout.readline():
                message = protocol.load(line)
                match message:
                    case Stepped():
                        on_step(message)
                    case protocol.Train() | protocol.Inspect() | protocol.Check() | protocol.Protect():
                        raise ValueError("the worker answered with a job")
                    case _:
                        return message
        except ValueError as error:  # also a line beyond the limit
            await self.kill()
            raise Died(f"it talks nonsense ({error})") from error
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # said below
        await self.kill()
        raise Died(self._obituary(), self._process.returncode)

    def interrupt(self) -> None:
        """Ask it to end its training at a checkpoint (training/wish.py)."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    async def close(self) -> None:
        """Let it end by itself, for a moment."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End its process group, and wait for it; not for ever, as something in the kernel may hold it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        try:
            async with asyncio.timeout(_DEATH_S):
                await self._process.wait()
        except TimeoutError:
            _log.warning("worker %d was killed, and has not ended after %g s", self._process.pid, _DEATH_S)
        with suppress(TimeoutError):  # a grandchild that fled the group may hold the pipe open
            async with asyncio.timeout(1.0):
                await asyncio.wait([self._listener])
        self._listener.cancel()

    def _obituary(self) -> str:
        if self._process.returncode is None:
            return f"it was killed, and has not ended after {_DEATH_S:g} s"
        code = self._process.returncode
        how = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"
        if code == -signal.SIGKILL:
            how += " (out of memory?)"
        return f"{how}; its last words: {self._last_words}" if self._last_words else how

    async def _listen(self) -> None:
        assert self._process.stderr is not None, "it is a pipe"
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # longer than the limit: the rest follows
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()[:_LOG_LIMIT]
            if text:
                self._last_words = text[:300]
                _log.info("worker %d: %s", self._process.pid, text)


class WarmWorker:
    """The `Worker` port: one child that trains, kept for `idle_s` after its last job, and short-lived ones beside it.

    Those look at datasets, check versions and protect deltas: they need not wait for hours of training, and each sees
    no more than its job needs (edges/enclosure.py). Two graphs, or a graph and a delta's protection, share none.
    """

    def __init__(self, command: Sequence[str], *, idle_s: float, nice: int, enclosure: Enclosure | None = None) -> None:
        """Take how a child is started; an enclosure adds what it may touch."""
        self._command = command
        self._enclosure = enclosure
        self._view = View((), ())
        self._idle_s = idle_s
        self._nice = nice
        self._child: Child | None = None
        self._training = False
        self._unwanted = False
        self._lock = asyncio.Lock()
        self._beside = asyncio.Lock()
        self._closing: asyncio.TimerHandle | None = None
        self._closer: asyncio.Task[None] | None = None

    async def run(self, job: Job, on_step: Callable[[Stepped], None]) -> Reply:
        """Do one job; cancelling kills the child. Raise `Died` if it ends before it answers."""
        if not isinstance(job, protocol.Train):
            return await self._run_beside(job, on_step)
        self._unwanted = False
        async with self._lock:
            if self._closing:
                self._closing.cancel()
            if (view := await self._look(job)) is None:
                self._rest()
                return Refused(_SILENT)
            if self._child is not None and view != self._view:  # a dataset's file has come, or was replaced
                child, self._child = self._child, None
                await asyncio.shield(child.close())
            if self._child is None or not self._child.alive:
                self._child, self._view = await self._start(view), view
            self._training = True
            try:
                if self._unwanted:  # it was interrupted while another job was done, or the child was started
                    return Stopped()
                return await self._child.do(job, on_step)
            except BaseException:  # also when cancelled: what it is doing is not wanted any more
                child, self._child = self._child, None
                await asyncio.shield(child.kill())
                raise
            finally:
                self._training = False
                self._rest()

    def interrupt(self) -> None:
        """Ask a training that runs, or waits to, to stop at a checkpoint: its reply is then `Stopped`. Else nothing."""
        self._unwanted = True
        if self._child is not None and self._training:
            self._child.interrupt()

    async def close(self) -> None:
        """End what still runs."""
        if self._closing:
            self._closing.cancel()
        if self._closer:
            await asyncio.wait([self._closer])
        if self._child:
            await self._child.kill()
            self._child = None

    async def _run_beside(self, job: Job, on_step: Callable[[Stepped], None]) -> Reply:
        # Only one training at a time has a delta to protect; it need not wait for a look at much data.
        async with nullcontext() if isinstance(job, protocol.Protect) else self._beside:
            if (view := await self._look(job)) is None:
                return Refused(_SILENT)
            child = await self._start(view)
            try:
                return await child.do(job, on_step)
            finally:
                await asyncio.shield(child.kill())

    async def _look(self, job: Job) -> View | None:
        """Look at what a job is to see; None: of that something does not answer."""
        if self._enclosure is None:
            return View((), ())
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                return await asyncio.to_thread(self._enclosure.view, job)
        return None

    async def _start(self, view: View) -> Child:
        return await Child.start((*self._command, *view.arguments), self._nice)

    def _rest(self) -> None:
        """Let the child go in a while, unless there is another job."""
        self._closing = asyncio.get_running_loop().call_later(self._idle_s, self._let_go)

    def _let_go(self) -> None:
        if self._child is not None and not self._lock.locked():
            self._closer = asyncio.create_task(self._close_idle(), name="worker.close")

    async def _close_idle(self) -> None:
        async with self._lock:
            if self._child:
                await self._child.close()
                self._child = None
                _log.info("the worker was idle for %g s and was let go", self._idle_s)


@asynccontextmanager
async def warm_worker(
    command: Sequence[str], *, idle_s: float, nice: int, enclosure: Enclosure | None = None
) -> AsyncIterator[WarmWorker]:
    """Provide a worker; no child outlives the context."""
    worker = WarmWorker(command, idle_s=idle_s, nice=nice, enclosure=enclosure)
    try:
        yield worker
    finally:
        await worker.close()
