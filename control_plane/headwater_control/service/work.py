"""A unit of work: changes in one transaction, the audit log's entries with them, and whom to tell after the commit.

The outbox is this object, in memory: see docs/adr/0005-outbox-in-memory.md.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from headwater_wire.ids import DeviceId, RunId, TaskId
from headwater_wire.messages import Deployment, Task

from headwater_control.core.audit import Deed
from headwater_control.ports import Assign, Deploy, Downward, Ring, Transaction, Withdraw
from headwater_control.service.caller import caller
from headwater_control.service.world import World


class Work:
    """An open transaction, what the audit log is to say, what each device has to be told, which bells to ring."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self.rung: set[RunId] = set()
        self.reported: list[RunId] = []  # a task of it succeeded, each time
        self.runs_changed = False
        self.fleet_changed = False
        self.deeds: list[Deed] = []
        self._changes: defaultdict[DeviceId, list[Callable[[int], Downward]]] = defaultdict(list)
        self._rings: list[Ring] = []

    def assign(self, task: Task) -> None:
        """Tell a device of a new task."""
        self._changes[task.device].append(lambda revision: Assign(task.device, revision, task))

    def withdraw(self, device: DeviceId, task: TaskId, reason: str) -> None:
        """Tell a device that its task is over."""
        self._changes[device].append(lambda revision: Withdraw(device, revision, task, reason))

    def deploy(self, deployment: Deployment) -> None:
        """Tell a device what to install."""
        self._changes[deployment.device].append(lambda revision: Deploy(deployment.device, revision, deployment))

    def changed(self, device: DeviceId) -> None:
        """Note a change that a device learns by syncing."""
        self._changes[device].append(lambda revision: Ring(device, revision))

    def ring(self, device: DeviceId, revision: int) -> None:
        """Ask a device to come and sync, though nothing changed for it now."""
        self._rings.append(Ring(device, revision))

    async def seal(self) -> tuple[Downward, ...]:
        """Raise the revision of each device that something changed for; give what to publish after the commit.

        Several changes for one device share a revision, so losing one of their messages would go unnoticed: such a
        device is rung to sync instead.
        """
        revisions = await self.tx.devices.raise_revision(self._changes.keys()) if self._changes else {}
        messages: list[Downward] = list(self._rings)
        for device, revision in revisions.items():
            changes = self._changes[device]
            messages.append(changes[0](revision) if len(changes) == 1 else Ring(device, revision))
        return tuple(messages)


@asynccontextmanager
async def work(world: World) -> AsyncIterator[Work]:
    """Open a transaction; after its commit publish and ring. An exception rolls back, and nobody is told."""
    async with world.store.write() as tx:
        unit = Work(tx)
        yield unit
        messages = await unit.seal()
        for done in unit.deeds:  # last: whoever holds the log's head waits for no other lock
            await tx.audit.append(done, caller(), world.clock.now())
    if messages:
        await world.publisher.publish(messages)
    for run in sorted(unit.rung):  # the same order in every process
        world.bells.ring(run)
    for run in unit.reported:
        world.bells.report(run)
    if unit.runs_changed:
        world.bells.ring_runs()
    if unit.fleet_changed:
        world.bells.ring_fleet()
