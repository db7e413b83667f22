"""The composition root: which concrete parts the control plane is made of, and how long each lives."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headwater_wire import durable
from headwater_wire.eras import first_of
from headwater_wire.signals import heard
from headwater_wire.systemd import Notifier
from headwater_wire.topics import CONTROL_FILTER, control_filter

from headwater_control import belonging
from headwater_control.backup.restore import era_of, noted
from headwater_control.config import BadSetting, Settings, address, broker_address
from headwater_control.core.runs import RunState
from headwater_control.datadir import DataDir, Endpoints, claimed
from headwater_control.edges import broker
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.edges.clock import SystemClock, SystemIds
from headwater_control.edges.offload import ProcessOffload
from headwater_control.edges.publisher import MqttPublisher
from headwater_control.gates import enrolment, grpc
from headwater_control.gates.access import CertifiedAccess, OpenAccess, is_bounded, may_use
from headwater_control.gates.enrolment import EnrolmentGate, Places
from headwater_control.gates.grpc import GrpcGate
from headwater_control.gates.http import app as http
from headwater_control.gates.http import listen
from headwater_control.gates.http.auth import Door
from headwater_control.gates.http.enrolment import Enrolment
from headwater_control.gates.http.health import Part
from headwater_control.gates.mqtt import MqttGate
from headwater_control.gates.peers import Peers
from headwater_control.link import Link
from headwater_control.ports import Damaged, Store
from headwater_control.reach import nearby
from headwater_control.service import keys, restoration, tokens
from headwater_control.service import world as service
from headwater_control.service.bells import Bells
from headwater_control.service.coordinator import Coordinator
from headwater_control.service.roll import Roll
from headwater_control.service.world import World
from headwater_control.trust import Trust, opened, provider
from headwater_control.upkeep import Upkeep, upkeep

log = logging.getLogger(__name__)

_READY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Ready:
    """What the operator hears at the start. `first_token` is the first admin token, if it was made just now."""

    endpoints: Endpoints
    door: str  # the URL that operators are told
    fingerprint: str  # SHA-256 (hex) of the root certificate
    first_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What works until the stop."""

    world: World
    offload: ProcessOffload
    publisher: MqttPublisher
    mqtt: MqttGate
    coordinator: Coordinator
    trust: Trust
    upkeep: Upkeep | None  # of a broker that is not embedded


async def serve(settings: Settings, on_ready: Callable[[Ready], None]) -> None:
    """Run until SIGTERM or SIGINT; raise `BadSetting` if it can't start."""
    stop = asyncio.Event()
    async with AsyncExitStack() as lives:
        lives.enter_context(heard({signal.SIGTERM: stop.set, signal.SIGINT: stop.set}))
        data = lives.enter_context(claimed(settings.data_path))
        with _listening("http", settings.http):
            listening = lives.enter_context(listen.bound(*address(settings.http, "http")))
        store = await lives.enter_async_context(_store(settings, data))
        await _void_leases(store, data.previous_holder)
        offload = await lives.enter_async_context(ProcessOffload())
        trust = opened(settings, data, SystemClock())
        roll = Roll()
        await roll.look(store, SystemClock().now())  # before anybody can come in
        link = await _broker(settings, trust, roll, lives)
        publisher = MqttPublisher(link, lambda: trust.keyring.signer(SystemClock().now()))
        world = _world(settings, data, store, offload, publisher, trust, roll)
        with noted(data.path) as restored:
            if restored is not None:
                log.warning("restored from the backup of %s: what happened since is unknown here", restored.made_at)
                await restoration.settle(world, restored)
        gate = MqttGate(world, link, _upward(settings, trust))
        coordinator = Coordinator(world, data.holder)
        parts = _Parts(world, offload, publisher, gate, coordinator, trust, upkeep(settings, trust, roll, store, link))
        grpc_port = await _gateway(settings, parts, lives)
        enrol_port = await _enrolment(settings, parts, grpc_port, link, lives)
        endpoints = _endpoints(settings, listening.getsockname()[1], grpc_port, link, enrol_port)
        async with _working(settings, parts, listening, enrol_port):
            await keys.finish(world)
            first = "" if trust.tls is None else await _first_token(settings, world)
            lives.enter_context(data.announced(endpoints))
            on_ready(Ready(endpoints, _door(settings, endpoints), trust.authority.fingerprint.hex(), first))
            notifier = Notifier(os.environ)
            notifier.ready()
            feeding = asyncio.create_task(notifier.feed(coordinator.advances), name="watchdog")
            await stop.wait()
            feeding.cancel()
            notifier.stopping()
            log.info("stopping")


@asynccontextmanager
async def _working(settings: Settings, parts: _Parts, listening: socket.socket, enrol_port: int) -> AsyncIterator[None]:
    """Run the loops and serve HTTP while the context lasts; it is entered once all is ready."""
    stopping = asyncio.Event()
    tls = parts.trust.tls
    api = http.create(
        parts.world,
        parts=(
            Part(lambda: parts.mqtt.ready, "no connection to the MQTT broker: devices can't be heard"),
            Part(lambda: parts.coordinator.ready, "the coordinator's loop does not advance: runs stand still"),
        ),
        stopping=stopping,
        file_limit_bytes=settings.model_size_limit_mb * 1_000_000,
        door=None if tls is None else Door(provider(settings, parts.world.clock)),
        hosts=frozenset(parts.trust.hosts),
        enrolment=Enrolment(enrol_port, settings.public_names, frozenset(parts.trust.hosts)) if enrol_port else None,
    )
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(parts.publisher.run(), name="publisher"),
            tasks.create_task(parts.mqtt.run(), name="mqtt"),
            tasks.create_task(parts.coordinator.run(), name="coordinator"),
            tasks.create_task(parts.world.roll.keep(parts.world.store, parts.world.clock), name="roll"),
        ]
        if parts.upkeep is not None:
            loops.append(tasks.create_task(parts.upkeep.run(), name="upkeep"))
        if tls is not None:
            loops.append(tasks.create_task(tls.run(), name="tls"))
        async with listen.served(api, listening, None if tls is None else tls.context(clients=False)):
            await _ready(parts)
            loops.append(tasks.create_task(parts.offload.warm(), name="offload.warm"))
            yield
            stopping.set()
            parts.world.bells.ring_watchers()  # event streams look at `stopping`
        for loop in loops:
            loop.cancel()


async def _ready(parts: _Parts) -> None:
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            await parts.mqtt.subscribed.wait()
            while not parts.coordinator.ready:  # noqa: ASYNC110 (a state that comes and goes, not an event)
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        who = "the database did not let it look after its runs"
        setting = "database"
        if not parts.mqtt.subscribed.is_set():
            who, setting = "the MQTT broker did not let it listen", "broker"
        raise BadSetting(
            f"the control plane is not ready after {_READY_WITHIN_S:.0f} s: {who}; the log says why. "
            f"Does `{setting}` name the right one?"
        ) from error


def _world(
    settings: Settings,
    data: DataDir,
    store: Store,
    offload: ProcessOffload,
    publisher: MqttPublisher,
    trust: Trust,
    roll: Roll,
) -> World:
    clock = SystemClock()
    return World(
        store=store,
        blobs=FolderBlobs(data.blobs),
        offload=offload,
        publisher=publisher,
        clock=clock,
        ids=SystemIds(),
        issuer=trust.authority,
        keyring=trust.keyring,
        roll=roll,
        bells=Bells(clock),
        settings=service.Settings(
            work_dir=data.work,
            heartbeat_idle_s=settings.heartbeat_idle_s,
            heartbeat_busy_s=settings.heartbeat_busy_s,
            presence_grace_s=settings.presence_grace_s,
            first_entry=belonging.known(data),
            first_revision=first_of(era_of(data.path)),
            broker_vouches=settings.broker == "embedded" or trust.tls is None,
        ),
    )


async def _void_leases(store: Store, previous_holder: str) -> None:
    """End the leases of the process that had this data directory before: it is dead, so nobody need wait them out."""
    if not previous_holder:
        return
    now = SystemClock().now()
    async with store.write() as transaction:
        for run in await transaction.runs.all((RunState.RUNNING, RunState.PAUSED)):
            await transaction.runs.lead(run.id, previous_holder, now, 0.0)


@asynccontextmanager
async def _store(settings: Settings, data: DataDir) -> AsyncIterator[Store]:
    opening = belonging.opened(settings.database_url, data, SystemClock())
    try:
        store = await opening.__aenter__()
    except Exception as error:  # whatever a driver raises: an operator needs the reason, not the trace
        if isinstance(error, BadSetting | Damaged) or (isinstance(error, OSError) and durable.refused(error)):
            raise
        log.debug("the database can't be opened", exc_info=True)
        reason = next(iter(str(error).splitlines()), repr(error))
        raise BadSetting(f"the database can't be opened: {reason}; is `database` right, and is it running?") from error
    try:
        yield store
    finally:
        await opening.__aexit__(None, None, None)


async def _broker(settings: Settings, trust: Trust, roll: Roll, lives: AsyncExitStack) -> Link:
    """Start the embedded broker, unless the operator has one; give the way to connect to it."""
    tls = trust.tls
    if settings.broker != "embedded":
        return Link(*broker_address(settings.broker), tls=None if tls is None else trust.client.context)
    host, port = address(settings.mqtt, "mqtt")
    unproven, certified = OpenAccess(), CertifiedAccess(roll)
    with _listening("mqtt", settings.mqtt):
        running = await lives.enter_async_context(
            broker.serve(
                host,
                port,
                authorize=may_use,
                authenticate=(lambda who: unproven.may_connect(who.client_id, who.username, who.password))
                if tls is None
                else (lambda who: certified.may_connect(who.client_id, who.certificate)),
                bounded=is_bounded,
                tls=None if tls is None else tls.context(clients=True),
            )
        )
    roll.on_bar(running.expel)
    here = nearby(host)
    if tls is None:
        return Link(here, running.port, unproven.username, unproven.password)
    return Link(here, running.port, tls=trust.client.context)


def _upward(settings: Settings, trust: Trust) -> str:
    """Give the filter under which devices are heard."""
    secret = settings.broker != "embedded" and trust.tls is not None
    return control_filter(trust.authority.secret("share")) if secret else CONTROL_FILTER


async def _gateway(settings: Settings, parts: _Parts, lives: AsyncExitStack) -> int:
    tls = parts.trust.tls
    peers = Peers(parts.world.roll, certified=tls is not None)
    gate = GrpcGate(parts.world, peers, uploads=settings.uploads)
    credentials = None if tls is None else tls.credentials(clients=True)
    with _listening("grpc", settings.grpc):
        return await lives.enter_async_context(grpc.serve(gate, *address(settings.grpc, "grpc"), credentials))


async def _enrolment(settings: Settings, parts: _Parts, grpc_port: int, link: Link, lives: AsyncExitStack) -> int:
    """Serve boxes without a certificate; 0: nowhere, since without TLS there are none."""
    tls = parts.trust.tls
    if tls is None:
        return 0
    external = settings.broker.removeprefix("mqtts://")
    places = Places(f":{grpc_port}", f":{link.port}" if settings.broker == "embedded" else external)
    with _listening("enrol", settings.enrol):
        serving = enrolment.serve(
            EnrolmentGate(parts.world, places), *address(settings.enrol, "enrol"), tls.credentials(clients=False)
        )
        return await lives.enter_async_context(serving)


async def _first_token(settings: Settings, world: World) -> str:
    """Make the first admin token, if there is none; give it to be shown once, unless a file is to have it."""
    place = Path(settings.admin_token_file) if settings.admin_token_file else None

    def keep(token: str) -> None:
        if place is not None:
            try:
                durable.write(place, token.encode() + b"\n", private=True)
            except OSError as error:
                raise BadSetting(f"admin_token_file: can't write {place}: {error.strerror}") from error

    token = await tokens.first(world, keep) or ""
    return "" if place else token


def _door(settings: Settings, at: Endpoints) -> str:
    """Spell the URL by which others reach the API: by the first of the configured names, else by what is bound."""
    host, _, port = at.http.partition("://")[2].rpartition(":")
    name = next(iter(settings.public_names), "") or nearby(host.strip("[]"))
    return f"{at.http.partition('://')[0]}://{f'[{name}]' if ':' in name else name}:{port}"


def _endpoints(settings: Settings, http_port: int, grpc_port: int, link: Link, enrol_port: int) -> Endpoints:
    def at(text: str, port: int) -> str:
        return f"{text.rpartition(':')[0]}:{port}"

    host = f"[{link.host}]" if ":" in link.host else link.host
    s = "" if settings.insecure else "s"
    return Endpoints(
        http=f"http{s}://{at(settings.http, http_port)}",
        grpc=at(settings.grpc, grpc_port),
        mqtt=f"mqtt{s}://{host}:{link.port}",
        enrol=at(settings.enrol, enrol_port) if enrol_port else "",
        pid=os.getpid(),
    )


@contextmanager
def _listening(name: str, text: str) -> Iterator[None]:
    """Say of a failure to listen which address it is about."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise BadSetting(
            f"{name} can't listen on {text}: {reason}; stop the program that has it, or choose "
            f"another with --{name} 127.0.0.1:PORT (0: any free one)"
        ) from error
