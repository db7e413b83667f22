"""The MQTT connection against real brokers: what is said at birth and death, what is heard, how it heals."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiomqtt
import pytest
from headwater_agent.config import Address
from headwater_agent.core import events as on
from headwater_agent.edges.link import Deliver, Link
from headwater_agent.ports import Vitals
from headwater_control.edges.broker.server import serve
from headwater_wire import topics
from headwater_wire.ids import DeviceId, TaskId
from headwater_wire.messages import Hello, Inventory, Order, Phase, Progress
from headwater_wire.v1 import fleet_pb2 as fleet

from tests.fakes.agent_bundle import DEVICE, task
from tests.fakes.agent_fleet import FleetEar, fleet_ear, order
from tests.fakes.agent_home import until
from tests.fakes.agent_ports import MemoryJournal
from tests.fakes.agent_world import deployment
from tests.support.mosquitto import running_mosquitto
from tests.support.signing import trust


class Registrar:
    """Tells little."""

    async def hello(self, epoch: int) -> Hello:
        """Tell."""
        return Hello(epoch, Inventory(hostname="h"), (("site", "lab"),))


@dataclass
class Setting:
    """A link, a broker, and someone who listens."""

    link: Link
    journal: MemoryJournal
    ear: FleetEar
    events: list[on.Event]
    vitals: list[Vitals]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Run the link."""
        self.tasks.append(asyncio.create_task(self.link.run()))

    async def stop(self) -> None:
        """Stop it in good order."""
        for task_ in self.tasks:
            task_.cancel()
        await asyncio.wait(self.tasks)


def make_link(
    port: int,
    events: list[on.Event],
    vitals: list[Vitals],
    journal: MemoryJournal,
    deliver: Deliver | None = None,
    registrar: Registrar | None = None,
) -> Link:
    """Make a link that notes what it hears."""

    async def note(event: on.Event) -> None:
        events.append(event)

    return Link(
        Address("127.0.0.1", port),
        DEVICE,
        journal=journal,
        registrar=registrar or Registrar(),
        vitals=lambda: vitals[-1],
        deliver=deliver or note,
        trust=trust(),
        patience_s=3.0,
    )


@asynccontextmanager
async def setting(port: int) -> AsyncIterator[Setting]:
    """Connect a link to a broker."""
    events: list[on.Event] = []
    vitals = [Vitals(3, (), 60)]
    journal = MemoryJournal()
    async with fleet_ear(port) as ear:
        made = Setting(make_link(port, events, vitals, journal), journal, ear, events, vitals)
        made.start()
        try:
            yield made
        finally:
            await made.stop()


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    """A broker of either kind; its port."""
    async with AsyncExitStack() as stack:
        if request.param == "embedded":
            yield (await stack.enter_async_context(serve("127.0.0.1", 0))).port
        else:
            yield (await stack.enter_async_context(running_mosquitto(tmp_path))).port


async def test_birth_registration_and_goodbye(broker: int) -> None:
    """Presence is one topic; the hash told in Sync is that of the bytes published."""
    async with setting(broker) as s:
        await until(lambda: on.Connected() in s.events and s.ear.beats, "the connection")
        assert (s.ear.presences[0].online, s.ear.presences[0].epoch, s.ear.presences[0].seq) == (True, 1, 1)
        assert s.ear.hellos[0].labels == {"site": "lab"}
        assert s.link.hello_hash == hashlib.sha256(s.ear.hellos[0].SerializeToString(deterministic=True)).hexdigest()
        assert (s.ear.beats[0].epoch, s.ear.beats[0].revision) == (1, 3)
        await s.stop()
        await until(lambda: len(s.ear.presences) == 2, "the goodbye")
    assert (s.ear.presences[1].online, s.ear.presences[1].epoch, s.ear.presences[1].seq) == (False, 1, 2)


async def test_what_comes_down_becomes_events(broker: int) -> None:
    """Tasks, cancellations, deployments and rings, once each."""
    t1 = task("t1")
    async with setting(broker) as s:
        await until(lambda: s.link.connected, "the connection")
        await s.ear.assign(4, t1)
        await s.ear.cancel(DEVICE, 5, t1.id)
        await s.ear.deploy(6, deployment(1))
        await s.ear.ring(DEVICE, 6)
        await until(lambda: on.Rung() in s.events, "the ring")
    assert s.events == [
        on.Connected(),
        on.Assigned(4, t1),
        on.Withdrawn(5, t1.id, "over"),
        on.DeploymentWanted(6, deployment(1)),
        on.Rung(),
    ]


async def test_what_the_machine_has_not_taken_waits_in_the_broker(broker: int) -> None:
    """A few messages are here at a time, and none is lost."""
    taken: list[on.Event] = []
    ready = asyncio.Event()

    async with fleet_ear(broker) as ear:
        link = make_link(broker, [], [Vitals(3, (), 60)], MemoryJournal(), busy_until(ready, taken))
        running = asyncio.create_task(link.run())
        await until(lambda: link.connected, "the connection")
        for _ in range(50):  # fewer than the queue holds: mosquitto sends all once one is acknowledged
            await ear.ring(DEVICE)
        link.pulse()  # the broker answers in order: when it has passed this on, what came before was sent
        await until(lambda: len(ear.beats) == 2, "a heartbeat")
        assert link._client is not None and len(link._client.messages) <= 20
        ready.set()
        await until(lambda: taken.count(on.Rung()) == 50, "every ring")
        running.cancel()
        await asyncio.wait([running])


async def test_a_broker_that_floods_is_left_and_tried_again(broker: int) -> None:
    """What comes beyond the queue costs the connection, not the memory; the next connection works."""
    taken: list[on.Event] = []
    ready = asyncio.Event()

    async with fleet_ear(broker) as ear:
        link = make_link(broker, [], [Vitals(3, (), 60)], MemoryJournal(), busy_until(ready, taken))
        running = asyncio.create_task(link.run())
        await until(lambda: link.connected, "the connection")
        for _ in range(300):  # nothing that a receive maximum would hold back
            await ear.client.publish(topics.down(DEVICE, "sync"), b"", qos=0)
        await until(lambda: link._client is not None and len(link._client.messages) == 64, "a full queue")
        ready.set()
        await until(lambda: taken.count(on.Connected()) == 2, "the next connection")
        assert taken.count(on.Rung()) <= 65
        await ear.assign(4, task("t1"))
        await until(lambda: on.Assigned(4, task("t1")) in taken, "an assignment over it")
        running.cancel()
        await asyncio.wait([running])


def busy_until(ready: asyncio.Event, taken: list[on.Event]) -> Deliver:
    """Make a machine that is too busy for a ring until it is ready."""

    async def deliver(event: on.Event) -> None:
        if event == on.Rung():
            await ready.wait()
        taken.append(event)

    return deliver


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("hw/v1/d/box-1/dn/task", b"\xff\xff\xff"),
        ("hw/v1/d/box-1/dn/task", b""),
        ("hw/v1/d/box-1/dn/deployment", b""),
        ("hw/v1/d/box-1/dn/unheard-of", b""),
        ("hw/v1/d/box-1/dn/task", b"\0" * 100_000),
        ("hw/v1/d/box-1/dn/sync", b"\x09"),
    ],
)
async def test_nonsense_is_dropped(broker: int, topic: str, payload: bytes) -> None:
    """And what comes after it is heard."""
    async with setting(broker) as s:
        await until(lambda: s.link.connected, "the connection")
        await s.ear.raw(topic, payload)
        await s.ear.ring(DEVICE)
        await until(lambda: on.Rung() in s.events, "the ring")
    assert s.events == [on.Connected(), on.Rung()]


async def test_a_task_for_another_device_is_dropped(broker: int) -> None:
    """A broker that mixes up topics can't make this box train."""
    async with setting(broker) as s:
        await until(lambda: s.link.connected, "the connection")
        other = task("t1")
        await s.ear.assign(1, other)
        await until(lambda: len(s.events) == 2, "the right one")
        stray = order(Order(DeviceId("box-2"), 2, replace(task("t2"), device=DeviceId("box-2"))))
        await s.ear.raw("hw/v1/d/box-1/dn/task", stray.SerializeToString())
        await s.ear.ring(DEVICE)
        await until(lambda: on.Rung() in s.events, "the ring")
    assert s.events == [on.Connected(), on.Assigned(1, other), on.Rung()]


async def test_a_pulse_is_sent_at_once_and_many_are_few(broker: int) -> None:
    """A phase change shows within half a second; a thousand changes are two heartbeats a second."""
    async with setting(broker) as s:
        await until(lambda: s.ear.beats, "the first heartbeat")
        s.vitals.append(Vitals(4, (Progress(TaskId("t1"), Phase.TRAINING, 1, 2, 0.5),), 60))
        for _ in range(1000):
            s.link.pulse()
        await until(lambda: len(s.ear.beats) == 2, "the pulse", within_s=2.0)
        assert s.ear.beats[1].progress[0].phase == fleet.TRAINING
        s.link.pulse()
        s.link.pulse()
        await until(lambda: len(s.ear.beats) == 3, "one more", within_s=2.0)
    assert len(s.ear.beats) == 3


async def test_the_server_sets_the_pace(broker: int) -> None:
    """Heartbeats follow the last Sync's answer."""
    async with setting(broker) as s:
        s.vitals.append(Vitals(3, (), 1))
        s.link.pulse()
        await until(lambda: len(s.ear.beats) >= 4, "four heartbeats", within_s=6.0)


async def test_renewing_raises_the_epoch(broker: int) -> None:
    """A wiped box, told of a higher epoch, comes back above it."""
    async with setting(broker) as s:
        await until(lambda: s.link.connected, "the connection")
        await s.journal.jump_epoch(41)
        await s.link.renew()
        await until(lambda: [p.epoch for p in s.ear.presences if p.online] == [1, 42], "the second birth")
        assert s.link.epoch == 42


async def test_an_announcement_repeats_the_registration(broker: int) -> None:
    """When Sync asks for it."""
    async with setting(broker) as s:
        await until(lambda: s.link.connected, "the connection")
        await s.link.announce()
        await until(lambda: len(s.ear.hellos) == 2, "the second registration")


async def test_what_changes_while_the_registration_is_sent_is_announced_after_it() -> None:
    """Else a dataset looked over at that moment would stay unknown until the next connection."""

    class Looking(Registrar):
        announcing: asyncio.Task[None] | None = None

        async def hello(self, epoch: int) -> Hello:
            told = Hello(epoch, Inventory(hostname="looking" if self.announcing is None else "found"))
            self.announcing = self.announcing or asyncio.create_task(link.announce())
            return told

    async with serve("127.0.0.1", 0) as broker, fleet_ear(broker.port) as ear:
        link = make_link(broker.port, [], [Vitals(0, (), 60)], MemoryJournal(), registrar=Looking())
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: ear.hellos and ear.hellos[-1].inventory.hostname == "found", "the second registration")
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_a_heartbeat_shows_which_registration_was_sent_last() -> None:
    """The control plane rings for another, if it has lost that one."""
    async with serve("127.0.0.1", 0) as broker, setting(broker.port) as s:
        await until(lambda: s.ear.beats, "a heartbeat")
        assert s.ear.beats[0].hello == s.link.hello_hash[:8] != ""


async def test_a_second_agent_with_the_same_id_is_named_as_such(caplog: pytest.LogCaptureFixture) -> None:
    """A copied disk is no broken network, and must not read like one; mosquitto 2.0 closes without telling why."""
    async with serve("127.0.0.1", 0) as broker, setting(broker.port) as s:
        await until(lambda: s.link.connected, "the connection")
        async with aiomqtt.Client("127.0.0.1", broker.port, identifier=DEVICE, protocol=aiomqtt.ProtocolVersion.V5):
            await until(lambda: f"another agent came as {DEVICE}" in caplog.text, "the warning")


async def test_a_broker_that_comes_and_goes() -> None:
    """Each connection has an epoch of its own, says everything again, and asks for a Sync."""
    events: list[on.Event] = []
    journal = MemoryJournal()
    async with serve("127.0.0.1", 0) as first:
        port = first.port
        link = make_link(port, events, [Vitals(0, (), 60)], journal)
        running = asyncio.create_task(link.run())
        await until(lambda: events.count(on.Connected()) == 1, "the first connection")
    await until(lambda: not link.connected, "the loss to be noticed")
    async with serve("127.0.0.1", port), fleet_ear(port) as ear:
        await until(lambda: events.count(on.Connected()) == 2 and ear.hellos, "the second connection")
        assert ear.presences[0].epoch == journal.epoch >= 2
        running.cancel()
        await asyncio.wait([running])


async def test_a_frozen_broker_does_not_hold_up_the_end() -> None:
    """Stopping takes seconds at most, whoever doesn't answer."""
    writers: list[asyncio.StreamWriter] = []

    async def freeze(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(freeze, "127.0.0.1", 0)
    link = make_link(server.sockets[0].getsockname()[1], [], [Vitals(0, (), 60)], MemoryJournal())
    running = asyncio.create_task(link.run())
    await until(lambda: writers, "the attempt")
    running.cancel()
    async with asyncio.timeout(4):
        await asyncio.wait([running])
    for writer in writers:
        writer.close()
    server.close()
