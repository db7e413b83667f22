"""From a command of the machine's to the event it ends in: what to ask the edges for, in which order, how patiently."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import random
from typing import TypeVar, assert_never

from headwater_wire import manifest
from headwater_wire.crashpoint import crashpoint
from headwater_wire.errors import Malformed
from headwater_wire.ids import Digest, ModelName, TaskId
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Blob, Deployment, Offer, Phase, Progress, SyncAnswer, SyncRequest, Task

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.backoff import delay_s
from headwater_agent.core.policy import Policy, bundle_objection, delta_objection
from headwater_agent.ports import (
    Allowance,
    Cache,
    Damaged,
    Died,
    Downlink,
    Gone,
    Journal,
    Shelf,
    Spool,
    Unavailable,
    Uplink,
    Worker,
)
from headwater_agent.ration import Ration, UsedUp
from headwater_agent.thrift import Thrift
from headwater_agent.training import protocol
from headwater_agent.trainings import Trainings

CHECK_ATTEMPTS = 3
CHECK_S = 600.0
UPLOADS_AT_ONCE = 2
ALLOWANCE_S = 600.0  # how long an upload that is put off to the next day sleeps at a time: clocks are set
NUDGES_APART_S = 0.2
_IN_TURN = {Phase.FETCHING: Phase.ACCEPTED, Phase.UPLOADING: Phase.SPOOLED}
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass
class Effects:
    """Performs commands. Cancelling `perform` ends what it does, the child included.

    `live` says of the tasks being worked on what the session doesn't know; `request` and `needed` look into the
    session as it was last saved, `needed` past an install that has ended since; `wanted` names the blobs of a bundle
    that the engine reads; `chance` draws from [0, 1) for the
    jitter of the pauses.
    """

    uplink: Uplink
    cache: Cache
    spool: Spool
    worker: Worker
    shelf: Shelf
    link: Downlink
    journal: Journal
    datasets: dict[str, protocol.DatasetConfig]
    request: Callable[[], SyncRequest]
    needed: Callable[[Deployment | None], frozenset[Digest]]
    wanted: Callable[[Manifest], tuple[Blob, ...]]
    policy: Policy = field(default_factory=Policy)
    thrift: Thrift = field(default_factory=Thrift)
    allowance: Allowance | None = None  # None: as much as there is
    chance: Callable[[], float] = random
    live: dict[TaskId, Progress] = field(default_factory=dict)
    _named: dict[Digest, frozenset[Digest]] = field(default_factory=dict)  # by the bundle whose manifest names them
    _nudged_s: float = float("-inf")
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)
    trainings: Trainings = field(init=False)
    _uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_AT_ONCE))

    def __post_init__(self) -> None:
        """Train in the worker."""
        self.trainings = Trainings(self.worker)

    async def perform(self, command: do.Command) -> on.Event | None:
        """Do what is asked; give the event it ended in, if there is one to tell."""
        match command:
            case do.Sync():
                return await self._sync()
            case do.Announce():
                await self.link.announce()
            case do.Fetch(task):
                return await self._fetch(task)
            case do.Train(task, attempt):
                return await self._train(task, attempt)
            case do.Upload():
                return await self._upload(command)
            case do.Discard(task_id):
                crashpoint("agent.receipt")
                await self.spool.discard(task_id)
            case do.Install(deployment):
                event = await self._install(deployment)
                await self._prune(self.needed(deployment))
                return event
            case do.PauseTraining(task_id):
                self.trainings.pause(task_id)
            # The shell has cancelled what it was doing, perhaps a moment after it spooled its delta.
            case do.StopTraining(task_id) | do.Drop(task_id):
                await self.spool.discard(task_id)
            case do.PauseFetching() | do.AbandonInstall():
                pass  # likewise; what it fetched is pruned with the next fetch or install
            case _:
                assert_never(command)
        return None

    @property
    def uploading(self) -> frozenset[TaskId]:
        """Name the tasks whose deltas are being sent now, not those that wait for the control plane."""
        live = self.live.values()
        return frozenset(told.task for told in live if told.phase is Phase.UPLOADING and not told.waiting_for)

    def nudge(self) -> None:
        """End the pauses between attempts, since the control plane seems to be back; a flood of nudges is one."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._nudged_s < NUDGES_APART_S:
            return
        self._nudged_s = now_s
        self._nudged.set()
        self._nudged.clear()

    async def _sync(self) -> on.Event:
        request, answer = await self._patiently(self._ask, "sync")
        if answer.epoch > self.link.epoch:  # this box was wiped, or set back
            await self.journal.jump_epoch(answer.epoch)
            if self.link.epoch:
                await self.link.renew()
        return on.Synced(request, answer)

    async def _ask(self) -> tuple[SyncRequest, SyncAnswer]:
        request = self.request()
        return request, await self.uplink.sync(request)

    async def _fetch(self, task: Task) -> on.Event:
        try:
            self._show(Progress(task.id, Phase.FETCHING))
            if task.plan.train and (free := await self.spool.free_bytes()) < task.base.size:
                return on.FetchFailed(
                    task.id,
                    f"this device can't store the delta: {task.base.size} bytes, and {free} are free on its disk",
                )
            await self._bring(task)
            await self._prune(self.needed(None) | {task.bundle.digest, task.base.digest})
            return on.Fetched(task.id)
        except Gone as error:
            return on.FetchFailed(task.id, f"the control plane does not have what the task refers to: {error}")
        except Malformed as error:
            return on.FetchFailed(task.id, str(error))
        except OSError as error:
            return on.FetchFailed(task.id, f"this device can't store the model: {error.strerror or error}")
        finally:
            self.live.pop(task.id, None)

    async def _train(self, task: Task, attempt: int) -> on.Event:
        """Train, and spool the delta; of a training that has ended for good nothing stays but that."""
        with self.trainings.begun(task.id) as wish:
            event = await self._attempt(task, attempt, wish)
        if isinstance(event, on.Scored | on.TrainingRefused | on.TrainingBroke):
            await self.spool.discard(task.id)
        return event

    async def _attempt(self, task: Task, attempt: int, wish: asyncio.Event) -> on.Event:
        delta_path = self.spool.work_path(task.id, attempt)
        try:
            self._show(Progress(task.id, Phase.TRAINING))
            files, limits = await self._bring(task), self.policy.limits(task.dataset)
            if refused := bundle_objection(limits, files.model):
                return on.TrainingRefused(task.id, attempt, refused)
            if wish.is_set():
                return on.Paused(task.id, attempt)
            job = protocol.Train(
                task=task.id,
                manifest_path=str(files.manifest),
                files=files.blobs,
                base_path=str(files.base),
                delta_path=str(delta_path),
                dataset=self.datasets[task.dataset],
                plan=self.thrift.of(task.plan),
                floor=limits.floor,
                checkpoints=self.thrift.checkpoints(self.spool.checkpoints(task.id)),
                max_minutes=limits.max_minutes,
            )
            reply = await self.trainings.run(job, limits.max_minutes, wish, lambda step: self._step(task.id, step))
            return await self._trained(task, attempt, delta_path, reply)
        except Died as error:
            return on.WorkerDied(task.id, attempt, str(error), await self.spool.reached(task.id))
        except (Gone, Malformed, Damaged) as error:
            return on.TrainingBroke(task.id, attempt, str(error))
        except OSError as error:
            return on.TrainingBroke(task.id, attempt, f"this device can't store the delta: {error.strerror or error}")
        finally:
            self.live.pop(task.id, None)
            with suppress(OSError):  # swept at the next start
                delta_path.unlink(missing_ok=True)

    async def _trained(self, task: Task, attempt: int, delta_path: Path, reply: protocol.Reply) -> on.Event:
        match reply:
            case protocol.Trained(metrics, None) if not task.plan.train:
                return on.Scored(task.id, attempt, metrics)
            case protocol.Trained(metrics, delta) if delta is not None and task.plan.train:
                if refused := delta_objection(self.policy.limits(task.dataset), delta.size):
                    return on.TrainingRefused(task.id, attempt, refused)
                crashpoint("agent.trained")
                await self.spool.adopt(task.id, delta_path, delta)
                return on.Trained(task.id, attempt, delta, metrics)
            case protocol.Stopped():
                return on.Paused(task.id, attempt)
            case protocol.Refused(reason):
                return on.TrainingRefused(task.id, attempt, reason)
            case protocol.Broke(reason):
                return on.TrainingBroke(task.id, attempt, reason)
        return on.TrainingBroke(task.id, attempt, f"the worker answered with {type(reply).__name__}, not as was asked")

    async def _upload(self, command: do.Upload) -> on.Event:
        task, delta = command.task, command.delta
        offer = Offer(self.request().device, task.id, delta, task.plan.codec, command.metrics)
        ration = Ration(self.allowance, delta.size)

        async def attempt() -> on.Event:
            try:
                path = await self.spool.open(task.id, delta)
                self._show(Progress(task.id, Phase.UPLOADING, 0, delta.size))
                receipt = await self.uplink.upload(
                    offer, path, lambda sent: self._sent(task.id, sent, delta.size), ration.take
                )
            except OSError as error:
                raise Damaged(f"the delta can't be read: {error.strerror or error}") from error
            _log.info("task %s: %s", task.id, f"{receipt.kind} {receipt.reason}".rstrip())
            return on.Receipted(task.id, receipt)

        what = f"the upload of task {task.id}"
        try:
            while True:
                await self._allowed(task.id, ration)
                with suppress(UsedUp):
                    async with self._uploads:
                        return await self._patiently(attempt, what, final=(Damaged, UsedUp), of=task.id)
        except Damaged as error:
            _log.warning("task %s: what it had trained is lost: %s", task.id, error)
            return on.SpoolLost(task.id, command.attempt, str(error))
        finally:
            self.live.pop(task.id, None)

    async def _allowed(self, task: TaskId, ration: Ration) -> None:
        """Wait until the day has room for an upload: it is put off, and stays spooled."""
        while wait_s := await ration.wait_s():
            why = "the device: its uploads of today are used up (conditions.upload_mb_a_day)"
            self._show(Progress(task, Phase.SPOOLED, waiting_for=why))
            await asyncio.sleep(min(wait_s, ALLOWANCE_S))

    async def _install(self, wanted: Deployment) -> on.Event:
        model, version = wanted.model, wanted.version
        what = f"the install of {version}"
        try:
            shelved = await self.shelf.find(model, version, wanted.onnx)
            if shelved is None:
                onnx = await self._patiently(lambda: self.cache.get(wanted.onnx, durably=True), what, final=Gone)
            else:
                onnx = shelved
            reference = await self._patiently(lambda: self.cache.get(wanted.reference, durably=False), what, final=Gone)
            crashpoint("agent.install.fetched")
            if problem := await self._check(protocol.Check(str(onnx), str(reference), wanted.tolerance)):
                return on.InstallFailed(model, wanted.generation, problem)
            if shelved is None:
                await self.shelf.put(model, version, onnx)
            await self.shelf.activate(model, version)
            crashpoint("agent.install.linked")
            return on.Installed(model, wanted.generation)
        except Gone as error:
            return on.InstallFailed(model, wanted.generation, f"the control plane does not have it: {error}")
        except OSError as error:
            return on.InstallFailed(model, wanted.generation, f"this device can't store it: {error.strerror or error}")

    async def _check(self, job: protocol.Check) -> str:
        """Say what is wrong with a version; nothing, if it computes what it should."""
        how = ""
        for _ in range(CHECK_ATTEMPTS):
            try:
                async with asyncio.timeout(CHECK_S):
                    reply = await self.worker.run(job, lambda step: None)
            except Died as error:
                how = str(error)
                continue
            except TimeoutError:
                return f"checking it took longer than {CHECK_S:g} s"
            match reply:
                case protocol.Checked(problem):
                    return problem
                case protocol.Refused(reason) | protocol.Broke(reason):
                    return reason
                case _:
                    return f"the worker answered the check with {type(reply).__name__}"
        return f"checking it ended the worker {CHECK_ATTEMPTS} times, the last time so: {how}"

    async def _bring(self, task: Task) -> "_Files":
        what = f"task {task.id}"
        bundle = await self._patiently(lambda: self.cache.get(task.bundle, durably=True), what, final=Gone, of=task.id)
        description = manifest.parse(await asyncio.to_thread(bundle.read_bytes))
        named = self.wanted(description)
        self._named[task.bundle.digest] = frozenset(blob.digest for blob in named)

        async def bring(blob: Blob, *, durably: bool) -> Path:
            return await self._patiently(lambda: self.cache.get(blob, durably=durably), what, final=Gone, of=task.id)

        blobs = [(blob.digest, str(await bring(blob, durably=True))) for blob in named]
        return _Files(description.model, bundle, tuple(blobs), await bring(task.base, durably=False))

    async def _prune(self, needed: frozenset[Digest]) -> None:
        """Drop what nobody needs; a bundle that is needed needs what it names."""
        self._named = {bundle: named for bundle, named in self._named.items() if bundle in needed}
        try:
            await self.cache.prune(needed.union(*self._named.values()))
        except OSError as error:
            _log.warning("the cache can't be tidied up: %s", error)

    async def _patiently(
        self,
        attempt: Callable[[], Awaitable[_T]],
        what: str,
        *,
        final: type[Exception] | tuple[type[Exception], ...] = (),
        of: TaskId | None = None,
    ) -> _T:
        """Try until it works, with full-jitter pauses that end early when the control plane is known to be back."""
        count = 0
        while True:
            try:
                return await attempt()
            except final:
                raise
            except (Unavailable, Gone) as error:
                wish_s = error.retry_after_s if isinstance(error, Unavailable) else None
                pause_s = wish_s or delay_s(count, chance=self.chance())
                # Who is told when to come back only waits for its turn.
                _log.log(logging.INFO if count < 3 or wish_s is not None else logging.WARNING, "%s: %s", what, error)
                shown = self.live.get(of) if of else None
                if shown:  # who was told to come back later waits for its turn: that is no lack of progress
                    phase = _IN_TURN.get(shown.phase, shown.phase) if wish_s is not None else shown.phase
                    self._show(replace(shown, phase=phase, waiting_for=f"the control plane: {error}"[:200]))
                count += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await (self._nudged.wait() if wish_s is None else asyncio.Event().wait())
            if shown:
                self.live[shown.task] = shown

    def _step(self, task: TaskId, step: protocol.Stepped) -> None:
        if not self.live.get(task, Progress(task, Phase.ACCEPTED)).steps:
            crashpoint("agent.training")
        self.live[task] = Progress(task, Phase.TRAINING, step.step, step.steps, step.loss)

    def _sent(self, task: TaskId, sent: int, size: int) -> None:
        self.live[task] = Progress(task, Phase.UPLOADING, sent, size)

    def _show(self, progress: Progress) -> None:
        self.live[progress.task] = progress
        self.link.pulse()


@dataclass(frozen=True, slots=True)
class _Files:
    model: ModelName
    manifest: Path
    blobs: tuple[tuple[Digest, str], ...]
    base: Path
