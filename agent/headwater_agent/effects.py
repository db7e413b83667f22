"""From a command of the machine's to the event it ends in: what to ask the edges for, in which order, how patiently."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import random
from typing import assert_never

from headwater_wire import manifest
from headwater_wire.crashpoint import crashpoint
from headwater_wire.errors import Malformed
from headwater_wire.ids import Digest, ModelName, TaskId
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Blob, Deployment, Metrics, Offer, Phase, Progress, SyncAnswer, SyncRequest, Task

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.guard import Guard
from headwater_agent.core.policy import Floor, Policy, bundle_objection, delta_objection
from headwater_agent.installs import Installs
from headwater_agent.patience import Patience
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
    Uplink,
    Worker,
)
from headwater_agent.ration import PutOff, Ration
from headwater_agent.survey import examine
from headwater_agent.thrift import Thrift
from headwater_agent.training import protocol
from headwater_agent.trainings import Trainings

PROTECT_S = 1800.0  # of a delta as large as a box may have, on a slow disk
UNPROTECTED = "its delta can't be clipped as policy.clip_norm asks: why, stands in the box's log"
UPLOADS_AT_ONCE = 2
ALLOWANCE_S = 600.0  # how long an upload that is put off to the next day sleeps at a time: clocks are set
NETWORK_S = 15.0  # likewise one that waits for another network
_log = logging.getLogger(__name__)


@dataclass
class Effects:
    """Performs commands. Cancelling `perform` ends what it does, the child included.

    `request` and `needed` look into the session as it was last saved, `needed` past an install that has ended since;
    `wanted` names the blobs of a bundle that the engine reads; `counted` tells a dataset's examples, None if it is not
    surveyed; `chance` draws from [0, 1) for the jitter of the pauses.
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
    counted: Callable[[str], int | None] = lambda dataset: None
    thrift: Thrift = field(default_factory=Thrift)
    allowance: Allowance | None = None  # None: as much as there is
    unsuited: Callable[[], str] = lambda: ""  # why the network is none for deltas now; empty: it is one
    chance: Callable[[], float] = random
    _named: dict[Digest, frozenset[Digest]] = field(default_factory=dict)  # by the bundle whose manifest names them
    patience: Patience = field(init=False)
    installs: Installs = field(init=False)
    trainings: Trainings = field(init=False)
    _uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_AT_ONCE))

    def __post_init__(self) -> None:
        """Train, check and wait with what was given."""
        self.patience = Patience(self.link, self.chance)
        self.installs = Installs(self.shelf, self.cache, self.worker, self.patience)
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
            case do.FetchVersion(deployment):
                return await self._installing(deployment, self.installs.fetch(deployment))
            case do.Install(deployment):
                return await self._installing(deployment, self.installs.install(deployment))
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
    def live(self) -> dict[TaskId, Progress]:
        """Say of the tasks being worked on what the session doesn't know."""
        return self.patience.live

    @property
    def uploading(self) -> frozenset[TaskId]:
        """Name the tasks whose deltas are being sent now, not those that wait for the control plane."""
        live = self.live.values()
        return frozenset(told.task for told in live if told.phase is Phase.UPLOADING and not told.waiting_for)

    def nudge(self) -> None:
        """End the pauses between attempts, since the control plane seems to be back."""
        self.patience.nudge()

    async def _sync(self) -> on.Event:
        request, answer = await self.patience.insist(self._ask, "sync")
        self.link.known(request.hello_hash, is_known=not answer.hello_wanted)
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
            self.patience.show(Progress(task.id, Phase.FETCHING))
            copies = 2 if self.policy.limits(task.dataset).floor.clip_norm else 1  # as it was trained, and protected
            if task.plan.train and (free := await self.spool.free_bytes()) < copies * task.base.size:
                return on.FetchFailed(
                    task.id,
                    f"this device can't store the delta: {copies * task.base.size} bytes, and {free} are free on its "
                    "disk",
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
        limits = self.policy.limits(task.dataset)
        guard = Guard(limits.floor, task.plan, self.counted(task.dataset))
        try:
            self.patience.show(Progress(task.id, Phase.TRAINING))
            files = await self._bring(task)
            if guard.count is None and limits.floor != Floor():
                card = await examine(self.worker, self.datasets[task.dataset])
                if card.problem:
                    return on.TrainingRefused(task.id, attempt, f"dataset {card.name!r} can't be used: {card.problem}")
                guard = replace(guard, count=card.examples)
            if refused := bundle_objection(limits, files.model) or guard.objection(task.dataset):
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
            clock = asyncio.get_running_loop().time
            began_s = clock()
            reply = await self.trainings.run(
                job, limits.max_minutes, wish, lambda step: self._step(task.id, step, guard)
            )
            if isinstance(reply, protocol.Trained):
                reply = replace(reply, metrics=guard.told(reply.metrics, clock() - began_s))
                return await self._trained(task, attempt, delta_path, reply, files.elements)
            return self._ended(task, attempt, guard, reply)
        except Died as error:
            why = _told(task, guard, str(error))
            return on.WorkerDied(task.id, attempt, why, await self.spool.reached(task.id))
        except (Gone, Malformed, Damaged) as error:
            return on.TrainingBroke(task.id, attempt, str(error))
        except OSError as error:
            return on.TrainingBroke(task.id, attempt, f"this device can't store the delta: {error.strerror or error}")
        finally:
            self.live.pop(task.id, None)
            with suppress(OSError):  # swept at the next start
                delta_path.unlink(missing_ok=True)

    async def _trained(
        self, task: Task, attempt: int, source: Path, reply: protocol.Trained, elements: int
    ) -> on.Event:
        """Spool the delta of a training, clipped and blurred first by another child if the owner asks for that."""
        floor = self.policy.limits(task.dataset).floor
        if (reply.delta is not None) != task.plan.train:
            return on.TrainingBroke(task.id, attempt, "the worker answered with Trained, not as was asked")
        if reply.delta is None:
            return on.Scored(task.id, attempt, reply.metrics)
        if not floor.clip_norm:
            return await self._spooled(task, attempt, source, reply.delta, reply.metrics)
        crashpoint("agent.unprotected")
        guarded = self.spool.work_path(task.id, attempt, guarded=True)
        try:
            job = protocol.Protect(str(source), str(guarded), elements, task.plan.codec, floor)
            async with asyncio.timeout(PROTECT_S):
                answer = await self.worker.run(job, lambda step: None)
            if isinstance(answer, protocol.Protected):
                return await self._spooled(task, attempt, guarded, answer.delta, reply.metrics)
            _log.warning("task %s: its delta was not protected: %s", task.id, answer)
            return on.TrainingBroke(task.id, attempt, UNPROTECTED)  # not in words that the delta's author may choose
        except TimeoutError:
            return on.TrainingBroke(task.id, attempt, f"protecting its delta took longer than {PROTECT_S:g} s")
        finally:
            with suppress(OSError):  # swept at the next start
                guarded.unlink(missing_ok=True)

    async def _spooled(self, task: Task, attempt: int, source: Path, delta: Blob, metrics: Metrics) -> on.Event:
        if refused := delta_objection(self.policy.limits(task.dataset), delta.size):
            return on.TrainingRefused(task.id, attempt, refused)
        crashpoint("agent.trained")
        await self.spool.adopt(task.id, source, delta)
        return on.Trained(task.id, attempt, delta, metrics)

    def _ended(self, task: Task, attempt: int, guard: Guard, reply: protocol.Reply) -> on.Event:
        match reply:
            case protocol.Stopped():
                return on.Paused(task.id, attempt)
            case protocol.Refused(reason):
                return on.TrainingRefused(task.id, attempt, _told(task, guard, reason))
            case protocol.Broke(reason):
                return on.TrainingBroke(task.id, attempt, _told(task, guard, reason))
        return on.TrainingBroke(task.id, attempt, f"the worker answered with {type(reply).__name__}, not as was asked")

    async def _upload(self, command: do.Upload) -> on.Event:
        task, delta = command.task, command.delta
        offer = Offer(self.request().device, task.id, delta, task.plan.codec, command.metrics)
        ration = Ration(self.allowance, delta.size)

        async def attempt() -> on.Event:
            if why := self.unsuited():  # also of one that was cut short when the network changed
                raise PutOff(why)
            try:
                path = await self.spool.open(task.id, delta)
                self.patience.show(Progress(task.id, Phase.UPLOADING, 0, delta.size))
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
                with suppress(PutOff):
                    async with self._uploads:
                        return await self.patience.insist(attempt, what, final=(Damaged, PutOff), of=task.id)
        except Damaged as error:
            _log.warning("task %s: what it had trained is lost: %s", task.id, error)
            return on.SpoolLost(task.id, command.attempt, str(error))
        finally:
            self.live.pop(task.id, None)

    async def _allowed(self, task: TaskId, ration: Ration) -> None:
        """Wait until the network suits and the day has room for an upload: it is put off, and stays spooled."""
        while True:
            if why := self.unsuited():
                wait_s = NETWORK_S
            elif wait_s := await ration.wait_s():
                why = "its uploads of today are used up (conditions.upload_mb_a_day)"
            else:
                return
            self.patience.show(Progress(task, Phase.SPOOLED, waiting_for=f"the device: {why}"))
            await asyncio.sleep(min(wait_s, ALLOWANCE_S))

    async def _installing(self, wanted: Deployment, part: Awaitable[on.Event]) -> on.Event:
        """Do a part of an install; what it has brought is dropped once that is at its end."""
        event = await part
        if not isinstance(event, on.VersionFetched):
            await self._prune(self.needed(wanted))
        return event

    async def _bring(self, task: Task) -> "_Files":
        what = f"task {task.id}"

        async def bring(blob: Blob, *, durably: bool) -> Path:
            return await self.patience.insist(
                lambda: self.cache.get(blob, durably=durably), what, final=Gone, of=task.id
            )

        bundle = await bring(task.bundle, durably=True)
        description = manifest.parse(await asyncio.to_thread(bundle.read_bytes))
        named = self.wanted(description)
        self._named[task.bundle.digest] = frozenset(blob.digest for blob in named)
        blobs = [(blob.digest, str(await bring(blob, durably=True))) for blob in named]
        base = await bring(task.base, durably=False)
        return _Files(description.model, description.elements, bundle, tuple(blobs), base)

    async def _prune(self, needed: frozenset[Digest]) -> None:
        """Drop what nobody needs; a bundle that is needed needs what it names."""
        self._named = {bundle: named for bundle, named in self._named.items() if bundle in needed}
        try:
            await self.cache.prune(needed.union(*self._named.values()))
        except OSError as error:
            _log.warning("the cache can't be tidied up: %s", error)

    def _step(self, task: TaskId, told: protocol.Stepped, guard: Guard) -> None:
        if not self.live.get(task, Progress(task, Phase.ACCEPTED)).steps:
            crashpoint("agent.training")
        self.live[task] = Progress(task, Phase.TRAINING, *guard.step(told.step, told.steps, told.loss))

    def _sent(self, task: TaskId, sent: int, size: int) -> None:
        self.live[task] = Progress(task, Phase.UPLOADING, sent, size)


def _told(task: Task, guard: Guard, reason: str) -> str:
    """Give what the training child said in words, as far as it may leave the box; the log has it in any case."""
    told = guard.words(reason)
    if told != reason:
        _log.warning("task %s: %.2000s", task.id, reason)
    return told


@dataclass(frozen=True, slots=True)
class _Files:
    model: ModelName
    elements: int
    manifest: Path
    blobs: tuple[tuple[Digest, str], ...]
    base: Path
