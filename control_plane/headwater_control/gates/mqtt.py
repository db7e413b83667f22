"""The MQTT way in: presence, registrations and heartbeats, acknowledged once they are in the database."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import aiomqtt
from google.protobuf.message import DecodeError
from headwater_wire.convert import hello_from, progress_from
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Progress
from headwater_wire.plausible import count, text
from headwater_wire.topics import CONTROL_FILTER, parse, up
from headwater_wire.v1 import fleet_pb2 as fleet

from headwater_control.core.fleet import Beat
from headwater_control.gates.gathering import patiently
from headwater_control.gates.intake import Intake, Said, Word
from headwater_control.link import Link, acknowledge_by_hand, come_meanwhile
from headwater_control.ports import Busy
from headwater_control.service import devices
from headwater_control.service.errors import ServiceError
from headwater_control.service.world import World

log = logging.getLogger(__name__)

_BATCH = 500
_BATCH_EVERY_S = 0.2
_BEATS = 10_000  # devices with one waiting for its batch
_ARRIVALS = 5_000  # waiting to be written, a presence and a hello of a device: a fleet that comes back at once
_PAYLOAD_BYTES = 65_536  # the largest Hello is a few kilobytes
_ARRIVALS_AT_ONCE = 32  # in one transaction
_COMPLAIN_EVERY_S = 10.0
_BUSY_MOST_S = 60.0  # so long arrivals wait for the database: the broker keeps them, and a last will comes only once

Arrival = devices.Registration | devices.Sign
Beaten = tuple[Beat, tuple[Progress, ...]]
Acknowledge = Callable[[aiomqtt.Message], None]
Parsed = TypeVar("Parsed", fleet.Presence, fleet.Hello, fleet.Heartbeat)


@dataclass(slots=True)
class Tally:
    """What came in, since the start."""

    taken: int = 0
    malformed: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(slots=True)
class MqttGate:
    """Takes in what devices say. `ready` while subscribed."""

    world: World
    link: Link
    shared: str = CONTROL_FILTER  # what replicas subscribe to together
    tally: Tally = field(default_factory=Tally)
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)
    _complained_at: float = float("-inf")

    @property
    def ready(self) -> bool:
        """Say whether messages can come in."""
        return self.subscribed.is_set()

    async def run(self) -> None:
        """Take messages in until cancelled, over a connection that is renewed when it breaks."""
        await self.link.keep("gate", self._session)

    async def _session(self, client: aiomqtt.Client) -> None:
        acknowledge = acknowledge_by_hand(client)
        beats = Intake[DeviceId, Beaten](_BEATS, lambda beaten: (beaten[0].epoch,))
        arrivals = Intake[tuple[DeviceId, str], Arrival](_ARRIVALS, _life)
        codes = await client.subscribe(self.shared, qos=1)
        if refused := [code for code in codes if _value(code) >= 128]:  # aiomqtt doesn't raise on a refusal
            raise aiomqtt.MqttError(f"the broker refused the subscription to what devices say: {refused[0]}")
        log.info("listening to devices on %s:%d", self.link.host, self.link.port)
        self.subscribed.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._batches(beats, acknowledge), name="mqtt.heartbeats")
                tasks.create_task(self._arrivals(arrivals, acknowledge), name="mqtt.arrivals")
                tasks.create_task(self._read(client, beats, arrivals, acknowledge), name="mqtt.read")
        finally:
            self.subscribed.clear()

    async def _read(
        self,
        client: aiomqtt.Client,
        beats: Intake[DeviceId, Beaten],
        arrivals: Intake[tuple[DeviceId, str], Arrival],
        acknowledge: Acknowledge,
    ) -> None:
        async for first in client.messages:  # never waits here: aiomqtt's own queue has no bound
            for message in (first, *come_meanwhile(client)):
                try:
                    device, way, kind = parse(str(message.topic))
                    if device in self.world.roll.barred.devices:  # a broker elsewhere may not know yet
                        raise Malformed(f"device {device} is shut out")
                    if way != "up":
                        raise Malformed(f"{message.topic} is a downward topic")
                    payload = message.payload
                    if not isinstance(payload, bytes):
                        raise Malformed("a message without bytes")
                    if len(payload) > _PAYLOAD_BYTES:
                        raise Malformed(f"{len(payload)} bytes; at most {_PAYLOAD_BYTES} are taken")
                    if kind == "heartbeat":
                        beats.put(device, self._beat(device, payload), message)
                    else:
                        arrivals.put((device, kind), _arrival(device, kind, payload), message)
                except Malformed as error:
                    self._complain(str(message.topic), error)
                    acknowledge(message)
                except asyncio.QueueFull:  # another heartbeat follows, and Sync asks for a Hello that it misses
                    self.tally.dropped += 1
                    acknowledge(message)

    def _beat(self, device: DeviceId, payload: bytes) -> Beaten:
        heartbeat = _parse(fleet.Heartbeat, payload)
        beat = Beat(
            device,
            count(heartbeat.epoch, "epoch"),
            count(heartbeat.revision, "revision"),
            self.world.clock.now(),
            text(heartbeat.hello, 64),
        )
        return beat, tuple(progress_from(line) for line in heartbeat.progress)

    async def _batches(self, beats: Intake[DeviceId, Beaten], acknowledge: Acknowledge) -> None:
        """Write heartbeats many at once: one by one, the database would be the limit."""
        while True:
            await beats.some()
            if len(beats) < _BATCH:
                await asyncio.sleep(_BATCH_EVERY_S)
            batch = beats.take(_BATCH)
            await self._beaten(batch)
            _acknowledge_all(batch, acknowledge)

    async def _beaten(self, batch: Sequence[Word[Beaten]]) -> None:
        count = sum(word.count for word in batch)
        try:
            await patiently(lambda: devices.heartbeats(self.world, [word.said for word in batch]))
            self.tally.taken += count
        except Exception:  # as an HTTP gate answers 500: one failed write must not end the process; more beats follow
            self.tally.failed += count
            log.exception("%d heartbeats were lost", count)

    async def _arrivals(self, arrivals: Intake[tuple[DeviceId, str], Arrival], acknowledge: Acknowledge) -> None:
        """Write what has gathered while the last of it was being written."""
        while True:
            await arrivals.some()
            taken = arrivals.take(_ARRIVALS_AT_ONCE)
            await self._arrived(taken)
            _acknowledge_all(taken, acknowledge)

    async def _arrived(self, taken: Sequence[Word[Arrival]]) -> None:
        """Write all of them together; if that fails, each alone, so that none is lost for another's sake."""
        try:
            await self._written([word.said for word in taken])
            self.tally.taken += sum(word.count for word in taken)
        except Exception as error:  # as above; the device's next Sync asks for what is missing
            first = taken[0].said
            kind = "hello" if isinstance(first, devices.Registration) else "presence"
            if len(taken) > 1 and not isinstance(error, Busy):
                for one in taken:
                    await self._arrived([one])
            elif isinstance(error, Malformed | ServiceError):
                self._complain(up(first.device, kind), error)
            else:
                self.tally.failed += sum(word.count for word in taken)
                log.exception("%s of %s was lost, and %d more", kind, first.device, len(taken) - 1)

    async def _written(self, arrivals: Sequence[Arrival]) -> None:
        """Write them, however often the database must be asked within a minute; at last raise `Busy`."""
        clock = asyncio.get_running_loop().time
        until = clock() + _BUSY_MOST_S
        while True:
            try:
                return await patiently(lambda: devices.arrive(self.world, arrivals))
            except Busy:
                if clock() >= until:
                    raise

    def _complain(self, topic: str, error: Exception) -> None:
        """Count it, and log it if the last such line is not too fresh: a mad device must not fill the disk."""
        self.tally.malformed += 1
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = now
            log.warning("dropped a message on %r: %s (%d dropped so far)", topic[:120], error, self.tally.malformed)


def _parse(kind: type[Parsed], payload: bytes) -> Parsed:
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise Malformed(f"not a {kind.DESCRIPTOR.name}: {error}") from error


def _arrival(device: DeviceId, kind: str, payload: bytes) -> Arrival:
    """Read a presence or hello: whatever it says, it speaks of the topic's device."""
    if kind == "presence":
        told = _parse(fleet.Presence, payload)
        return devices.Sign(device, told.online, count(told.epoch, "epoch"), count(told.seq, "seq"))
    hello = hello_from(_parse(fleet.Hello, payload))
    return devices.Registration(device, hello, hashlib.sha256(payload).hexdigest())


def _life(arrival: Arrival) -> tuple[int, ...]:
    """Rank what a device says of one kind: a last will of its former life may come after its birth."""
    return (arrival.epoch, arrival.seq) if isinstance(arrival, devices.Sign) else (arrival.hello.epoch,)


def _acknowledge_all(words: Iterable[Word[Said]], acknowledge: Acknowledge) -> None:
    for word in words:
        for message in word.messages:
            acknowledge(message)


def _value(code: object) -> int:
    return int(getattr(code, "value", code))  # type: ignore[call-overload,no-any-return]  # a ReasonCode or an int
