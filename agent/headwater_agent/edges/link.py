"""The MQTT connection: birth and last will, registration and heartbeats up; tasks, deployments and rings down."""

import asyncio
import hashlib
import logging
import math
import socket
import ssl
from collections.abc import Awaitable, Callable
from random import random

import aiomqtt
from headwater_wire import convert, intake, topics
from headwater_wire.errors import WireError
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Hello
from headwater_wire.v1 import fleet_pb2 as fleet
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from headwater_agent.config import Address
from headwater_agent.core.backoff import delay_s
from headwater_agent.core.events import Connected, Disconnected, Event
from headwater_agent.edges.connection import GOODBYE_S, PatientClient, acknowledge_by_hand, connection, taken_over
from headwater_agent.edges.downward import read
from headwater_agent.edges.trust import Trust
from headwater_agent.ports import Journal, Registrar, Vitals

KEEPALIVE_S = 120  # a ping and its headers cost 200 bytes; heartbeats show life as well
WILL_DELAY_S = 5  # a broken connection that is not back by then is told
EXPIRY_S = 300  # of presence and registration: what the control plane has not read by then, Sync heals
PATIENCE_S = 30.0  # a broker to which a whole fleet comes back takes its time
PAUSE_MOST_S = 45.0  # so a fleet is back within a minute; an attempt that is refused costs 100 bytes, 400 kB a day
GOOD_S = 5.0  # a connection makes up for one failure by each so many seconds: a link that flaps is tried patiently
PULSE_APART_S = 0.5
UNACKNOWLEDGED = 16  # receive maximum: what the broker may have in flight to us
QUEUED = 64  # of 256 KiB at most; more than the receive maximum, which mosquitto 2.0 forgets after an acknowledgement
_BORN, _GONE = 1, 2  # seq within an epoch
_SHOWN = 8  # digits of the registration's digest: by chance a changed one has the same once in four thousand million
# Else Nagle's algorithm holds a small packet behind an unacknowledged one, for 45 ms.
_AT_ONCE = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
_log = logging.getLogger(__name__)

Deliver = Callable[[Event], Awaitable[None]]
Acknowledge = Callable[[aiomqtt.Message], None]


class Link:
    """The `Downlink` port over one connection at a time, renewed with full-jitter pauses when it breaks.

    What we read goes to `deliver`, which waits while the machine is behind, and is acknowledged after that: so a broker
    that keeps to the rules holds back what comes meanwhile. One that floods us is left: `Sync` heals what was lost.
    """

    def __init__(
        self,
        address: Address,
        device: DeviceId,
        *,
        journal: Journal,
        registrar: Registrar,
        vitals: Callable[[], Vitals],
        deliver: Deliver,
        trust: Trust,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
        patience_s: float = PATIENCE_S,
        keepalive_s: int = KEEPALIVE_S,
    ) -> None:
        self._address = address
        self._device = device
        self._journal = journal
        self._registrar = registrar
        self._vitals = vitals
        self._deliver = deliver
        self._trust = trust
        self._tls = tls
        self._patience_s = patience_s
        self._keepalive_s = keepalive_s
        self._client: aiomqtt.Client | None = None
        self._pulse = asyncio.Event()
        self._renewal = asyncio.Event()
        self._accepted = False  # the present connection, or the last
        self._epoch = 0
        self._telling = asyncio.Lock()
        self._hello_hash = ""
        self._told: Hello | None = None  # the registration published last
        self._is_known = False  # that the control plane has it

    @property
    def epoch(self) -> int:
        """Tell the epoch of the present, or last, connection."""
        return self._epoch

    @property
    def hello_hash(self) -> str:
        """Tell the SHA-256 of the registration published last."""
        return self._hello_hash

    @property
    def unknown(self) -> Hello | None:
        """Tell the registration published last, unless the control plane is known to have it."""
        return None if self._is_known else self._told

    def known(self, hello_hash: str, *, is_known: bool) -> None:
        """Hear whether the control plane has the registration of this hash."""
        if hello_hash == self._hello_hash:
            self._is_known = is_known

    @property
    def connected(self) -> bool:
        """Say whether the broker has accepted us and we are subscribed."""
        return self._client is not None

    def pulse(self) -> None:
        """Send a heartbeat soon, since a phase has changed."""
        self._pulse.set()

    async def renew(self) -> None:
        """Connect anew, with the next epoch."""
        self._renewal.set()

    async def announce(self) -> None:
        """Publish the registration again, if connected: each new connection does so anyway."""
        if self._client is not None:
            try:
                await self._hello(self._client)
            except (aiomqtt.MqttError, TimeoutError) as error:
                _log.info("the registration was not published: %s", error or "no answer in time")

    async def run(self) -> None:
        """Stay connected until cancelled; then say goodbye."""
        attempt = 0
        while True:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            try:
                await self._once()
                attempt = 0  # asked to renew
            except (aiomqtt.MqttError, OSError, TimeoutError) as error:
                attempt = max(0, attempt + 1 - int((loop.time() - began_s) / GOOD_S) if self._accepted else attempt + 1)
                pause_s = delay_s(attempt, chance=random(), cap_s=PAUSE_MOST_S)  # noqa: S311 (jitter, no secret)
                _log.warning(
                    "no connection to the broker at %s:%d (%s): trying again in %.1f s",
                    self._address.host,
                    self._address.port,
                    error or type(error).__name__,
                    pause_s,
                )
                await self._deliver(Disconnected(chance=random()))  # noqa: S311 (as above)
                await asyncio.sleep(pause_s)

    async def _once(self) -> None:
        """Live through one connection; return if it should be renewed, raise if it broke."""
        self._epoch = await self._journal.next_epoch()
        self._renewal.clear()
        self._accepted = False
        # A client of its own for each attempt: a cancelled __aenter__ leaves its lock held.
        client = self._new_client()
        acknowledge = acknowledge_by_hand(client)
        async with connection(client, patience_s=self._patience_s):
            await self._subscribe(client)
            await self._presence(client, online=True)
            self._client = client  # before the registration: what changes while it is sent is announced after it
            try:
                await self._hello(client)
                self._accepted = True
                _log.info("connected to %s:%d as %s, epoch %d", *self._where(), self._device, self._epoch)
                await self._serve(client, acknowledge)
            except aiomqtt.MqttError as error:
                if taken_over(client):
                    raise aiomqtt.MqttError(
                        f"another agent came as {self._device}: each needs an id of its own"
                    ) from error
                raise
            finally:
                self._client = None
                # Also when cancelled: a goodbye is faster than the last will. The connection may be what broke.
                await self._goodbye(client)

    async def _serve(self, client: aiomqtt.Client, acknowledge: Acknowledge) -> None:
        await self._deliver(Connected())
        work = [
            asyncio.create_task(self._listen(client, acknowledge), name="link.listen"),
            asyncio.create_task(self._beat(client), name="link.beat"),
            asyncio.create_task(self._renewal.wait(), name="link.renewal"),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)

    async def _listen(self, client: aiomqtt.Client, acknowledge: Acknowledge) -> None:
        async for message in client.messages:
            if len(client.messages) >= QUEUED - 1:  # it was full: aiomqtt may have dropped what came on top
                raise aiomqtt.MqttError("the broker sends more than we can take")
            try:
                await self._deliver(read(self._device, str(message.topic), message.payload, self._trust))
            except WireError as error:
                _log.warning("dropped a message on %.120r: %s", str(message.topic), error)
            acknowledge(message)

    async def _beat(self, client: aiomqtt.Client) -> None:
        """Send a heartbeat now and then, and soon after `pulse`, at most two a second."""
        while True:
            vitals = self._vitals()
            self._pulse.clear()
            heartbeat = fleet.Heartbeat(
                epoch=self._epoch,
                revision=vitals.revision,
                progress=[convert.progress_to(progress) for progress in vitals.progress],
                hello=self._hello_hash[:_SHOWN],
            )
            # QoS 0: the next one comes anyway.
            await self._publish(client, "heartbeat", heartbeat.SerializeToString(), 0, 2 * vitals.heartbeat_s)
            await asyncio.sleep(PULSE_APART_S)
            try:
                async with asyncio.timeout(max(0.0, vitals.heartbeat_s - PULSE_APART_S)):
                    await self._pulse.wait()
            except TimeoutError:
                continue

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        async with asyncio.timeout(self._patience_s):
            codes = await client.subscribe(topics.down_filter(self._device), qos=1)
        if refused := [code for code in codes if _number(code) >= 128]:  # aiomqtt does not raise
            raise aiomqtt.MqttError(f"the broker refuses to tell {self._device} anything: {refused[0]}")

    async def _presence(self, client: aiomqtt.Client, *, online: bool) -> None:
        await self._publish(client, "presence", self._state(online=online), 1, EXPIRY_S)

    async def _hello(self, client: aiomqtt.Client) -> None:
        async with self._telling:  # of two at once, the older one must not be taken for the last
            hello = await self._registrar.hello(self._epoch)
            payload = convert.hello_bytes(hello)
            await self._publish(client, "hello", payload, 1, EXPIRY_S)
            if (hello_hash := hashlib.sha256(payload).hexdigest()) != self._hello_hash:
                self._hello_hash, self._told, self._is_known = hello_hash, hello, False

    async def _publish(self, client: aiomqtt.Client, kind: str, payload: bytes, qos: int, expiry_s: int) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = expiry_s
        async with asyncio.timeout(self._patience_s):
            await client.publish(topics.up(self._device, kind), payload, qos=qos, properties=properties)

    async def _goodbye(self, client: aiomqtt.Client) -> None:
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._presence(client, online=False)
        except (aiomqtt.MqttError, TimeoutError):
            return  # the last will says it

    def _new_client(self) -> aiomqtt.Client:
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = WILL_DELAY_S  # the will is sent when the session ends, if not before
        connect.MaximumPacketSize = intake.PACKET_BYTES
        connect.ReceiveMaximum = UNACKNOWLEDGED
        will = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
        will.WillDelayInterval = WILL_DELAY_S
        will.MessageExpiryInterval = EXPIRY_S
        return PatientClient(
            self._address.host,
            self._address.port,
            identifier=self._device,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=aiomqtt.Will(
                topics.up(self._device, "presence"), self._state(online=False), qos=1, retain=False, properties=will
            ),
            clean_start=MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=self._keepalive_s,
            timeout=math.inf,  # connection.py says why; each wait here has its own
            properties=connect,
            tls_context=self._tls(),
            socket_options=_AT_ONCE,
            max_queued_incoming_messages=QUEUED,
            handshake_s=self._patience_s,
        )

    def _state(self, *, online: bool) -> bytes:
        return fleet.Presence(online=online, epoch=self._epoch, seq=_BORN if online else _GONE).SerializeToString()

    def _where(self) -> tuple[str, int]:
        return self._address.host, self._address.port


def _number(code: object) -> int:
    return int(getattr(code, "value", code))  # type: ignore[call-overload,no-any-return]
