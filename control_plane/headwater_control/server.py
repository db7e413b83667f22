"""The composition root: which concrete parts the control plane is made of, and how long each lives."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from headwater_control.config import BadSetting, Settings, address, broker_address
from headwater_control.core.runs import RunState
from headwater_control.datadir import DataDir, Endpoints, claimed
from headwater_control.edges import broker
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.edges.clock import SystemClock, SystemIds
from headwater_control.edges.offload import ProcessOffload
from headwater_control.edges.publisher import MqttPublisher
from headwater_control.edges.store import open_store
from headwater_control.gates import grpc
from headwater_control.gates.access import Access
from headwater_control.gates.grpc import GrpcGate
from headwater_control.gates.http import app as http
from headwater_control.gates.http import listen
from headwater_control.gates.http.health import Part
from headwater_control.gates.mqtt import MqttGate
from headwater_control.link import Link
from headwater_control.ports import Store
from headwater_control.service import world as service
from headwater_control.service.bells import Bells
from headwater_control.service.coordinator import Coordinator
from headwater_control.service.world import World

log = logging.getLogger(__name__)

_READY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What works until the stop."""

    world: World
    offload: ProcessOffload
    publisher: MqttPublisher
    mqtt: MqttGate
    coordinator: Coordinator


async def serve(settings: Settings, on_ready: Callable[[Endpoints], None]) -> None:
    """Run until SIGTERM or SIGINT; raise `BadSetting` if it can't start."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as lives:
        data = lives.enter_context(claimed(settings.data_path))
        with _listening("http", settings.http):
            listening = lives.enter_context(listen.bound(*address(settings.http, "http")))
        store = await lives.enter_async_context(_store(settings))
        await _void_leases(store, data.previous_holder)
        offload = await lives.enter_async_context(ProcessOffload())
        link = await _broker(settings, lives)
        publisher = MqttPublisher(link)
        world = _world(settings, data, store, offload, publisher)
        parts = _Parts(world, offload, publisher, MqttGate(world, link), Coordinator(world, data.holder))
        with _listening("grpc", settings.grpc):
            gateway = grpc.serve(GrpcGate(world, uploads=settings.uploads), *address(settings.grpc, "grpc"))
            grpc_port = await lives.enter_async_context(gateway)
        endpoints = _endpoints(settings, listening.getsockname()[1], grpc_port, link)
        async with _working(settings, parts, listening):
            lives.enter_context(data.announced(endpoints))
            on_ready(endpoints)
            await stop.wait()
            log.info("stopping")


@asynccontextmanager
async def _working(settings: Settings, parts: _Parts, listening: socket.socket) -> AsyncIterator[None]:
    """Run the loops and serve HTTP while the context lasts; it is entered once all is ready."""
    stopping = asyncio.Event()
    api = http.create(
        parts.world,
        parts=(
            Part(lambda: parts.mqtt.ready, "no connection to the MQTT broker: devices can't be heard"),
            Part(lambda: parts.coordinator.ready, "the coordinator's loop does not advance: runs stand still"),
        ),
        stopping=stopping,
        file_limit_bytes=settings.model_size_limit_mb * 1_000_000,
    )
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(parts.publisher.run(), name="publisher"),
            tasks.create_task(parts.mqtt.run(), name="mqtt"),
            tasks.create_task(parts.coordinator.run(), name="coordinator"),
        ]
        async with listen.served(api, listening):
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
        raise BadSetting(
            f"the MQTT broker did not let the control plane listen within {_READY_WITHIN_S:.0f} s: the log says why; "
            "does `broker` name the right one?"
        ) from error


def _world(settings: Settings, data: DataDir, store: Store, offload: ProcessOffload, publisher: MqttPublisher) -> World:
    clock = SystemClock()
    return World(
        store=store,
        blobs=FolderBlobs(data.blobs),
        offload=offload,
        publisher=publisher,
        clock=clock,
        ids=SystemIds(),
        bells=Bells(clock),
        settings=service.Settings(
            work_dir=data.work,
            heartbeat_idle_s=settings.heartbeat_idle_s,
            heartbeat_busy_s=settings.heartbeat_busy_s,
            presence_grace_s=settings.presence_grace_s,
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
async def _store(settings: Settings) -> AsyncIterator[Store]:
    opening = open_store(settings.database_url)
    try:
        store = await opening.__aenter__()
    except Exception as error:  # whatever a driver raises: an operator needs the reason, not the trace
        log.debug("the database can't be opened", exc_info=True)
        reason = next(iter(str(error).splitlines()), repr(error))
        raise BadSetting(f"the database can't be opened: {reason}; is `database` right, and is it running?") from error
    try:
        yield store
    finally:
        await opening.__aexit__(None, None, None)


async def _broker(settings: Settings, lives: AsyncExitStack) -> Link:
    """Start the embedded broker, unless the operator has one; give the way to connect to it."""
    if settings.broker != "embedded":
        return Link(*broker_address(settings.broker))
    host, port = address(settings.mqtt, "mqtt")
    access = Access()
    with _listening("mqtt", settings.mqtt):
        running = await lives.enter_async_context(
            broker.serve(
                host,
                port,
                authorize=access.may_use,
                authenticate=lambda who: access.may_connect(who.client_id, who.username, who.password),
            )
        )
    return Link(host, running.port, access.username, access.password)


def _endpoints(settings: Settings, http_port: int, grpc_port: int, link: Link) -> Endpoints:
    def at(text: str, port: int) -> str:
        return f"{text.rpartition(':')[0]}:{port}"

    host = f"[{link.host}]" if ":" in link.host else link.host
    return Endpoints(
        http=f"http://{at(settings.http, http_port)}",
        grpc=at(settings.grpc, grpc_port),
        mqtt=f"mqtt://{host}:{link.port}",
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
