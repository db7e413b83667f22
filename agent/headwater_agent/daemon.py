"""The agent put together: which concrete edge stands behind which port, and how long each lives."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from signal import SIGHUP, SIGINT, SIGTERM

from headwater_wire.manifest import Manifest
from headwater_wire.messages import Blob
from headwater_wire.signals import heard
from headwater_wire.systemd import Notifier

from headwater_agent.clerk import Clerk
from headwater_agent.config import Address, Config, TrainingConfig
from headwater_agent.core import maintenance, novelty
from headwater_agent.core.conditions import MB
from headwater_agent.core.course import credited
from headwater_agent.core.events import ConditionsChanged, Connected, Event
from headwater_agent.core.session import Box, Session, Stage
from headwater_agent.core.status import Reach, describe, reach_of
from headwater_agent.core.telling import needed, sync_request
from headwater_agent.edges.allowance import DailyAllowance
from headwater_agent.edges.alone import alone
from headwater_agent.edges.cache import FolderCache
from headwater_agent.edges.children import warm_worker, worker_command
from headwater_agent.edges.console import console
from headwater_agent.edges.enclosure import Enclosure, enclosure_of
from headwater_agent.edges.fingerprints import fingerprint
from headwater_agent.edges.footprint import let_go_of_code
from headwater_agent.edges.inventory import LocalRegistrar, agent_version
from headwater_agent.edges.journal import open_journal
from headwater_agent.edges.link import Link
from headwater_agent.edges.maintenance import MaintenanceFile, instant
from headwater_agent.edges.membership import membership
from headwater_agent.edges.models import FolderShelf
from headwater_agent.edges.readings import Reader
from headwater_agent.edges.spool import FolderSpool
from headwater_agent.edges.threads import use_threads
from headwater_agent.edges.uplink import open_uplink
from headwater_agent.effects import Effects
from headwater_agent.shell import Shell
from headwater_agent.survey import Surveyor
from headwater_agent.training import confinement
from headwater_agent.watch import Watch

_INSIST_S = 3.0
_LEAVE_S = 1.5  # for a step and a checkpoint, when the agent stops: what takes longer goes on from the one before
_SETTLED_S, _TIDY_EVERY_S = 5.0, 3600.0
_log = logging.getLogger(__name__)


Parts = tuple[Link, Shell, Surveyor, Watch, Effects, Callable[[], Coroutine[None, None, None]]]


class _Stopped(Exception):
    pass


async def run(config: Config, environment: Mapping[str, str]) -> None:
    """Be an agent until SIGTERM or SIGINT; SIGHUP has the datasets looked over again."""
    use_threads()
    stop, look = asyncio.Event(), asyncio.Event()
    notifier = Notifier(environment)
    async with AsyncExitStack() as lives:
        lives.enter_context(heard({SIGTERM: stop.set, SIGINT: stop.set, SIGHUP: look.set}))
        parts = await lives.enter_async_context(agent(config, notifier.status))
        link, shell, surveyor, watch, effects, renewing = parts
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(shell.run(effects), name="agent.shell"),
                    tasks.create_task(link.run(), name="agent.link"),
                    tasks.create_task(surveyor.run(), name="agent.survey"),
                    tasks.create_task(watch.run(), name="agent.watch"),
                    tasks.create_task(renewing(), name="agent.renewal"),
                    tasks.create_task(notifier.feed(shell.journal.answers), name="agent.watchdog"),
                    tasks.create_task(_look_again(look, surveyor), name="agent.sighup"),
                    tasks.create_task(_stay_small(), name="agent.footprint"),
                ]
                notifier.ready()
                _log.info("headwater-agent %s is up", config.agent.id)
                await stop.wait()
                notifier.stopping()
                await _leave_checkpoints(shell, effects)
                asyncio.get_running_loop().call_later(_INSIST_S, _insist, running)
                raise _Stopped
        except* _Stopped:
            _log.info("headwater-agent %s stops", config.agent.id)


@asynccontextmanager
async def agent(config: Config, tell: Callable[[str], None]) -> AsyncIterator[Parts]:
    """Open what an agent is made of; nothing runs yet. `tell` shows a line of status."""
    state = config.agent.state_dir
    with alone(state):
        member = membership(config)
        device = member.device
        async with (
            open_journal(state / "journal.db") as journal,
            open_uplink(
                member.gateway,
                device,
                member.trust,
                member.grpc_credentials,
                patience_s=config.control_plane.patience_s,
                forged=member.look_again,
            ) as uplink,
            warm_worker(
                worker_command(config.training.engine, config.training.memory, config.training.io_priority),
                idle_s=config.training.worker_idle_s,
                nice=config.training.nice,
                enclosure=_enclosure(config),
            ) as worker,
        ):

            async def deliver(event: Event) -> None:
                if isinstance(event, Connected):
                    surveyor.again()
                await shell.deliver(event)

            def reach() -> Reach:
                return reach_of(
                    shell.session.time,
                    _where(member.broker),
                    _where(member.gateway),
                    connected=link.connected,
                    at_s=asyncio.get_running_loop().time(),
                    wall_s=time.time(),
                )

            def changed(session: Session) -> None:
                if _shown(session) != shown[0]:
                    shown[0] = _shown(session)
                    tell(", ".join(f"{held.task.id} {held.stage}" for held in session.held) or "idle")
                    link.pulse()

            link = Link(
                member.broker,
                device,
                journal=journal,
                registrar=LocalRegistrar(
                    config, lambda: novelty.told(shell.session, surveyor.cards()), lambda: watch.conditions()
                ),
                vitals=lambda: shell.vitals(effects.live),
                deliver=deliver,
                trust=member.trust,
                tls=member.mqtt_tls,
                keepalive_s=config.control_plane.keepalive_s,
            )
            how = config.conditions
            reader = Reader(state, how.metered, how.zone)
            held = MaintenanceFile(state)
            watch = Watch(
                how.wanted,
                lambda: asyncio.to_thread(reader.read),
                link,
                deliver,
                how.every_s,
                lambda: maintenance.objection(held.read(), now=instant()),
            )
            surveyor = Surveyor(config.datasets, fingerprint, journal, worker, link, deliver)
            await surveyor.recall()
            await watch.begin()
            box = Box(
                device,
                surveyor.facts(),
                config.training.max_attempts,
                config.policy,
                _refusal(config.training),
                min_new_examples=config.conditions.min_new_examples,
                waiting=watch.standing.waiting,
                quota=config.spool,
            )
            spool, session = FolderSpool(state), await journal.load(box)
            session = credited(session, {held.task.id: await spool.reached(held.task.id) for held in session.held})
            shell = Shell(session, journal, changed)
            shown = [_shown(shell.session)]
            for problem in journal.problems:
                _log.error("%s; the next Sync heals what was lost", problem)
                tell(problem)
            spooled = [held.task.id for held in shell.session.held if held.stage is Stage.SPOOLED]
            begun = [held.task.id for held in shell.session.held if held.task.id not in spooled]
            for name in await spool.sweep(spooled, begun):
                _log.warning("deleted %s: unfinished, or no record tells of it", name)
            effects = Effects(
                uplink=uplink,
                cache=FolderCache(state / "cache", uplink),
                spool=spool,
                worker=worker,
                shelf=FolderShelf(state / "models"),
                link=link,
                journal=journal,
                datasets={dataset.name: dataset for dataset in config.datasets},
                request=lambda: sync_request(
                    shell.session, epoch=link.epoch, hello_hash=link.hello_hash, hello=link.unknown
                ),
                needed=lambda ended: needed(shell.session, ended),
                wanted=lambda bundle: _wanted(config.training, bundle),
                policy=config.policy,
                counted=surveyor.examples,
                thrift=config.training.thrift,
                unsuited=lambda: watch.unmet("network"),
                allowance=DailyAllowance(state, int(how.upload_mb_a_day * MB)) if how.upload_mb_a_day else None,
            )
            clerk = Clerk(
                state,
                agent_version(),
                lambda: describe(shell.session, effects.live, reach(), at_s=asyncio.get_running_loop().time()),
                watch.again,
                ends=lambda: member.ends,
            )
            async with console(state, clerk.answer):
                yield link, shell, surveyor, watch, effects, lambda: member.keep(uplink.reconnect)


def _where(address: Address) -> str:
    return f"{address.host}:{address.port}"


async def _leave_checkpoints(shell: Shell, effects: Effects) -> None:
    """Have a training stop where it is, so that the next start goes on from there."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LEAVE_S):
            await shell.deliver(ConditionsChanged("the agent stops"))
            await effects.trainings.ended()


def _enclosure(config: Config) -> Enclosure:
    """Say what the training child may touch: deltas are finished in `work`, and taken from there."""
    state = config.agent.state_dir
    return enclosure_of(config, (state / "cache", state / "models"), state / "work")


def _refusal(how: TrainingConfig) -> str:
    """Say why this box takes no task; nothing, if it does. What is tolerated is told too."""
    refusal = confinement.objection(how.confinement)
    if refusal:
        _log.error("%s", refusal)
    elif missing := confinement.unconfined(how.confinement):
        _log.warning("the worker trains without %s (training.confinement is %s)", ", ".join(missing), how.confinement)
    return refusal


def _wanted(how: TrainingConfig, bundle: Manifest) -> tuple[Blob, ...]:
    """List the blobs that this box's way of training reads."""
    if how.engine == "native":
        return (bundle.graph,)
    return bundle.step.frugal_blobs if how.memory == "small" else bundle.step.blobs


def _shown(session: Session) -> object:
    """Say what a heartbeat should show at once: phases, why nothing is trained, and the pace itself."""
    return session.heartbeat_s, bool(session.box.waiting), tuple((held.task.id, held.stage) for held in session.held)


def _insist(running: list[asyncio.Task[None]]) -> None:
    """Cancel once more what a library has kept from hearing of it."""
    for task in running:
        if not task.done():
            _log.warning("%s did not stop: cancelling it again", task.get_name())
            task.cancel()


async def _stay_small() -> None:
    """Let go of what the start has run, and later of what tasks have."""
    await asyncio.sleep(_SETTLED_S)
    while True:
        let_go_of_code()
        await asyncio.sleep(_TIDY_EVERY_S)


async def _look_again(look: asyncio.Event, surveyor: Surveyor) -> None:
    while True:
        await look.wait()
        look.clear()
        surveyor.anew()
