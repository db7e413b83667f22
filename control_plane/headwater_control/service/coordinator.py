"""Drives every run that has something to do: lead it, look, decide, apply, wait for the next bell or deadline."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from headwater_wire.ids import Digest, RunId
from headwater_wire.manifest import Manifest

from headwater_control.core.rounds import Snapshot, next_wake, plan, reports_awaited
from headwater_control.core.runs import RunState
from headwater_control.ports import Busy, Damaged, Fenced, Missing, Ring
from headwater_control.service import deployments
from headwater_control.service.bells import Bell
from headwater_control.service.enrolment import forget_invites
from headwater_control.service.lookup import find_run
from headwater_control.service.rounds import Lead, apply
from headwater_control.service.snapshots import load_manifest, load_snapshot
from headwater_control.service.spent import forget
from headwater_control.service.work import work
from headwater_control.service.workspace import clear
from headwater_control.service.world import World

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_GOODBYE_S = 2.0
HEAL_EVERY_S = 3600.0
_LOOKS = 20
_REST = 9.0  # times as long as a look took: whatever rings, looking takes a tenth of the time at most


class Coordinator:
    """One per process; each run is led by one of them, through a lease with a fencing token.

    `holder` names this process, so that a restarted one is another.
    """

    def __init__(self, world: World, holder: str) -> None:
        self._world = world
        self._holder = holder
        self._look_s = world.settings.lease_ttl_s / 3  # leases are renewed, and other replicas' changes seen, so often
        self._started_at: datetime | None = None
        self._advanced_at: datetime | None = None

    @property
    def ready(self) -> bool:
        """Say whether the loop advanced recently."""
        if self._advanced_at is None:
            return False
        return (self._world.clock.now() - self._advanced_at).total_seconds() < self._world.settings.lease_ttl_s

    async def advances(self) -> bool:
        """Say the same, for systemd's watchdog."""
        return self.ready

    async def run(self) -> None:
        """Coordinate until cancelled."""
        world = self._world
        self._started_at = world.clock.now()
        clear(world.settings.work_dir)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_healing(), name="coordinator.healing")
            with world.bells.runs() as bell:
                drivers: dict[RunId, asyncio.Task[None]] = {}
                while True:
                    try:
                        for run in await self._active():
                            if run not in drivers:
                                drivers[run] = tasks.create_task(self._drive(run), name=f"coordinator.{run}")
                        await deployments.settle(world)
                        self._advanced_at = world.clock.now()
                    except Busy as error:
                        _LOG.warning("the database is busy, looking again in %g s: %s", self._look_s, error)
                    drivers = {run: driver for run, driver in drivers.items() if not driver.done()}
                    await bell.wait(self._look_s)

    async def _active(self) -> tuple[RunId, ...]:
        async with self._world.store.read() as tx:
            return tuple(run.id for run in await tx.runs.all((RunState.RUNNING, RunState.PAUSED)))

    async def _keep_healing(self) -> None:
        """Heal at the start, and every hour: beside the loop, since of many blobs a sweep takes minutes."""
        while True:
            pause_s = HEAL_EVERY_S
            try:
                await self._heal()
            except Busy as error:
                pause_s = self._look_s
                _LOG.warning("the database is busy, healing again in %g s: %s", pause_s, error)
            except OSError as error:  # a folder that isn't ours: nothing waits for what is tidied up here
                _LOG.warning("what crashes left can't be tidied up, trying again in %g s: %s", pause_s, error)
            await self._world.clock.sleep(pause_s)

    async def _heal(self) -> None:
        """Undo what crashes and broken uploads left: devices that missed a message, and blobs that no row needs.

        Rows that nobody asks for any more go too. What may take long comes last.
        """
        async with self._world.store.read() as tx:
            fleet = await tx.devices.matching()
        behind = [Ring(device.id, device.revision) for device in fleet if device.held_revision < device.revision]
        if behind:
            await self._world.publisher.publish(behind)
        await forget_invites(self._world)
        await self._sweep()

    async def _sweep(self) -> None:
        """Delete blobs that no row needs. Where rows name blobs that aren't there, one of both is not to be trusted.

        What is missing once may have been merged, and deleted, since the database was read; twice, it is lost.
        """
        missing: frozenset[Digest] = frozenset()
        for _ in range(_LOOKS):
            async with self._world.store.read() as tx:
                live = await tx.live_blobs()
            try:
                await self._world.blobs.sweep(live)
                return
            except Missing as error:
                before, missing = missing, error.digests
            if lost := sorted(before & missing):
                _LOG.error(
                    "the database names %d blobs that are not there, such as %s: copy blobs/objects/%s/%s from a "
                    "backup, or `headwater restore` the last one; until then nothing is swept",
                    len(lost),
                    lost[0],
                    lost[0][:2],
                    lost[0],
                )
                return

    async def _drive(self, run: RunId) -> None:
        """Lead a run until it has ended. Trouble is told and tried again, ever more rarely: all state is stored."""
        clock = self._world.clock
        pause_s = _FIRST_PAUSE_S
        while True:
            began_at = clock.now()
            trouble: BaseExceptionGroup[Exception] | None = None
            # In a task of its own: up to Python 3.12 a TaskGroup may leave the task around it marked as cancelled, and
            # lose a cancellation from outside that comes while a child of it fails.
            leading = asyncio.create_task(self._lead(run), name=f"coordinator.{run}.lead")
            try:
                if await leading:
                    return
                pause_s = _FIRST_PAUSE_S  # another one leads: look now and then
            except* Fenced:
                _LOG.info("another coordinator leads run %s now", run)
            except* Exception as found:
                trouble = found  # to wait in here would wrap a cancellation into a group
            if (task := asyncio.current_task()) and task.cancelling():
                raise asyncio.CancelledError
            if trouble:
                _LOG.error("run %s: trying again in %g s", run, pause_s, exc_info=trouble)
                await self._tell(run, trouble)
            if (clock.now() - began_at).total_seconds() > _LONGEST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            await clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _tell(self, run: RunId, trouble: BaseExceptionGroup[Exception]) -> None:
        """Note on the run what keeps it, if the database lets us."""
        first: BaseException = trouble
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        try:
            async with work(self._world) as unit:
                known = await find_run(unit.tx, run, lock=True)
                if not known.state.final:
                    reason = f"{first!r}; it is tried again (last at {self._world.clock.now():%H:%M:%S} UTC)"
                    await unit.tx.runs.save(replace(known, reason=reason))
                    unit.rung.add(run)
        except Damaged:
            raise
        except Exception as error:  # probably the trouble itself, which is told already
            _LOG.warning("run %s: why it is stuck can't be noted: %r", run, error)

    async def _lead(self, run: RunId) -> bool:
        """Take the lease and go on while it is ours; say whether the run has ended."""
        token = await self._renew(run, self._world.settings.lease_ttl_s)
        if token is None:
            return False
        manifest = await load_manifest(self._world, run)
        try:
            async with asyncio.TaskGroup() as tasks:
                keeper = tasks.create_task(self._keep(run, token), name=f"coordinator.{run}.lease")
                with self._world.bells.lead(run) as bell:
                    while not await self._advance(run, manifest, token, bell, tasks):
                        pass
                keeper.cancel()
        except asyncio.CancelledError:
            with suppress(Busy, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._renew(run, 0)  # so that the next process need not wait for the lease to end
            raise
        return True

    async def _look(self, run: RunId, manifest: Manifest) -> Snapshot:
        assert self._started_at is not None
        async with self._world.store.read() as tx:
            return await load_snapshot(self._world, tx, run, manifest, self._started_at)

    async def _advance(self, run: RunId, manifest: Manifest, token: int, bell: Bell, tasks: asyncio.TaskGroup) -> bool:
        """Look, and do what there is to do, or wait until that may have changed; say whether the run has ended."""
        clock = self._world.clock
        began_at = clock.now()
        bell.hush()
        view = await self._look(run, manifest)
        if view.run.state.final:
            return True
        now = clock.now()
        lead = Lead(view.run.id, view.run.round, token)
        decisions = plan(view, now)
        for decision in decisions:
            if spent := await apply(self._world, lead, decision):
                tasks.create_task(forget(self._world, spent), name=f"coordinator.{view.run.id}.forget")
        if not decisions:
            wake = next_wake(view, now)
            due_s = min((wake - now).total_seconds() if wake else self._look_s, self._look_s)
            rest_s = max(0.0, min(_REST * (clock.now() - began_at).total_seconds(), due_s))
            await bell.wait(due_s, reports=reports_awaited(view, now), rest_s=rest_s)
        return False

    async def _keep(self, run: RunId, token: int) -> None:
        """Renew the lease, also while a merge takes long; raise `Fenced` once it is lost."""
        while True:
            await self._world.clock.sleep(self._look_s)
            if await self._renew(run, self._world.settings.lease_ttl_s) != token:
                raise Fenced(f"the lease on run {run} is lost")

    async def _renew(self, run: RunId, ttl_s: float) -> int | None:
        async with self._world.store.write() as tx:
            return await tx.runs.lead(run, self._holder, self._world.clock.now(), ttl_s)
