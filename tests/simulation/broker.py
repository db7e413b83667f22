"""An MQTT broker that loses, doubles and delays, and clients for the agent's and the control plane's real links."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self, cast

import aiomqtt
from headwater_control.link import Link
from headwater_wire import topics

from tests.simulation.loop import Process
from tests.simulation.network import Network, Way

WILL_DELAY_S = 5.0
UNNOTICED_S = 180.0  # one and a half keepalives
GATE = "gate"


@dataclass(frozen=True, slots=True)
class Message:
    """What `aiomqtt.Message` is to those who read one."""

    topic: str
    payload: bytes
    qos: int
    mid: int = 0


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for who has gone without a word."""

    topic: str
    payload: bytes


class Broker:
    """Routes by the topic's device. Nothing is retained, and no session outlives its connection."""

    def __init__(self, network: Network) -> None:
        self.up = True
        self.network = network
        self._clients: dict[str, Client] = {}
        network.changed.append(self._way_changed)

    def accept(self, client: "Client") -> None:
        """Let a client in; an older one of its name has to go."""
        if not self.up:
            raise aiomqtt.MqttError("connection refused")
        if older := self._clients.get(client.name):
            older.drop("taken over")
        self._clients[client.name] = client

    def leave(self, client: "Client", *, farewell: bool) -> None:
        """Let a client go; without a farewell its will is sent, unless it is back by then."""
        if self._clients.get(client.name) is client:
            del self._clients[client.name]
            if not farewell and client.will is not None:
                self.network.loop.later(WILL_DELAY_S, self._execute, client.name, client.will)

    def route(self, topic: str, payload: bytes, qos: int) -> None:
        """Send a message on to whom it is for, or lose it."""
        device, way, kind = topics.parse(topic)
        target = self._clients.get(GATE if way == "up" else device)
        fate, weather = self.network.fate, self.network.fate.weather
        if target is None or not self.up or fate.strikes(weather.lost):
            self.network.history.note("broker", f"lost: {kind} {'of' if way == 'up' else 'to'} {device}")
            return
        message = Message(topic, payload, qos)
        target.pass_on(message)
        if fate.strikes(weather.twice):
            self.network.history.note("broker", f"twice: {kind} {'of' if way == 'up' else 'to'} {device}")
            self.network.loop.later(fate.chance.random() ** 2 * 60, target.pass_on, message)

    def stop(self) -> None:
        """Die: all connections break, and no will is sent."""
        self.up = False
        for client in list(self._clients.values()):
            client.drop("the broker died")
        self._clients.clear()

    def start(self) -> None:
        """Come back, knowing nobody."""
        self.up = True

    def _execute(self, name: str, will: Will) -> None:
        if name not in self._clients and self.up:
            self.route(will.topic, will.payload, 1)

    def _way_changed(self, box: str, way: Way) -> None:
        client = self._clients.get(box)
        if client is None:
            return
        if way is Way.CUT:
            self._lose(client)
        elif way is Way.FROZEN:
            self.network.loop.later(UNNOTICED_S, self._still_frozen, client)

    def _still_frozen(self, client: "Client") -> None:
        if self.network.way(client.name) is Way.FROZEN and self._clients.get(client.name) is client:
            self._lose(client)

    def _lose(self, client: "Client") -> None:
        client.drop("the connection broke")
        self.leave(client, farewell=False)


class Client:
    """Stands in for `aiomqtt.Client`, as far as our links use one; `_client` and `_queue` they reach for below it."""

    def __init__(self, broker: Broker, name: str, process: Process, will: Will | None = None) -> None:
        self.name = name
        self.will = will
        self.messages = self._queue = _Messages()
        self.pending_calls_threshold = 0
        self._broker = broker
        self._client = self
        self._process = process
        self._disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_s = 0.0  # when what comes to this client arrives, at the earliest
        self._sent_s = 0.0  # when what goes from it does
        process.died.append(self._process_died)

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._travel()
        self._broker.accept(self)
        await self._travel()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect in good order, if there is still a connection."""
        if not self._disconnected.done():
            await self._travel()
            self._broker.leave(self, farewell=True)
            self.drop("bye")
        if self._process_died in self._process.died:
            self._process.died.remove(self._process_died)

    async def subscribe(self, topic: str, qos: int) -> list[int]:
        """Subscribe; whom a message is for is told by its topic."""
        await self._travel()
        await self._travel()
        return [qos]

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        properties: object = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        """Publish; with QoS 1, wait until the broker has it."""
        try:
            async with asyncio.timeout(timeout):
                await self._publish(topic, payload, qos)
        except TimeoutError as error:
            raise aiomqtt.MqttError("Operation timed out") from error

    def pass_on(self, message: Message) -> None:
        """Put a message on its way to this client."""
        network, fate = self._broker.network, self._broker.network.fate
        if network.way(self.name) is Way.FROZEN:
            return
        at_s = network.loop.now_s + fate.delay_s()
        if fate.strikes(fate.weather.astray):
            at_s += fate.chance.random() * 60
        else:
            at_s = self._last_s = max(self._last_s, at_s)
        network.loop.later(at_s - network.loop.now_s, self._arrive, message)

    def drop(self, why: str) -> None:
        """Let the client see that its connection is gone."""
        if not self._disconnected.done():
            self._disconnected.set_exception(aiomqtt.MqttError(why))
            self._disconnected.exception()  # so that nobody need ask for it
            self.messages.end(why)

    def manual_ack_set(self, on: bool) -> None:
        """Acknowledgements end here: what is not acknowledged is lost with the connection."""

    def ack(self, mid: int, qos: int) -> None:
        """Likewise."""

    def disconnect(self) -> None:
        """Close the socket."""
        self._broker.leave(self, farewell=False)
        self.drop("closed")

    async def _publish(self, topic: str, payload: bytes, qos: int) -> None:
        if self._disconnected.done():
            raise aiomqtt.MqttError("Disconnected")
        network = self._broker.network
        if network.way(self.name) is Way.FROZEN:
            await asyncio.wait([self._disconnected])
            raise aiomqtt.MqttError("Disconnected")
        self._sent_s = max(self._sent_s, network.loop.now_s + network.fate.delay_s())  # in order, as TCP has it
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        network.loop.later(self._sent_s - network.loop.now_s, self._reach, topic, payload, qos, reached)
        if qos == 0:
            return
        await asyncio.wait([self._disconnected, reached], return_when=asyncio.FIRST_COMPLETED)
        await self._travel()

    def _reach(self, topic: str, payload: bytes, qos: int, reached: "asyncio.Future[None]") -> None:
        if not self._disconnected.done() and self._broker.network.way(self.name) is Way.OPEN:
            self._broker.route(topic, payload, qos)
            if not reached.done():
                reached.set_result(None)

    async def _travel(self) -> None:
        """Take the time that a packet takes; raise if the connection breaks, wait for ever if it is frozen."""
        network = self._broker.network
        if network.way(self.name) is Way.CUT or not self._broker.up:
            raise aiomqtt.MqttError("connection refused")
        if network.way(self.name) is Way.FROZEN:
            await asyncio.wait([self._disconnected])
        else:
            await asyncio.wait([self._disconnected], timeout=network.fate.delay_s())
        if self._disconnected.done():
            raise aiomqtt.MqttError("Disconnected")

    def _arrive(self, message: Message) -> None:
        if not self._disconnected.done():
            self.messages.put(message)

    def _process_died(self) -> None:
        network = self._broker.network
        noticed_s = network.fate.chance.choice((0.01, 0.01, UNNOTICED_S * network.fate.chance.random()))
        network.loop.later(noticed_s, self._vanish)

    def _vanish(self) -> None:
        self._broker.leave(self, farewell=False)


class _Messages:
    """The iterator of what comes in."""

    def __init__(self) -> None:
        self._queue: deque[Message] = deque()
        self._ended = ""
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if self._ended:
                raise aiomqtt.MqttError(f"Disconnected during message iteration: {self._ended}")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.get_nowait()

    def empty(self) -> bool:
        return not self._queue

    def get_nowait(self) -> Message:
        return self._queue.popleft()

    def put(self, message: Message) -> None:
        self._queue.append(message)
        self._wake()

    def end(self, why: str) -> None:
        self._ended = why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(frozen=True)
class ControlLink(Link):
    """The control plane's real `Link`, over clients of this broker."""

    make: Callable[[str], Client] = field(kw_only=True)

    @asynccontextmanager
    async def connect(self, role: str) -> AsyncIterator[aiomqtt.Client]:
        """Open one connection."""
        async with self.make(role) as client:
            yield cast("aiomqtt.Client", client)
