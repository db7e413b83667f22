"""What every implementation of the port `Downlink` promises: run on MQTT to a real broker, and on the fake."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from headwater_agent.config import Address
from headwater_agent.core import events as on
from headwater_agent.edges.link import Link
from headwater_agent.ports import Downlink, Vitals
from headwater_control.edges.broker import serve
from headwater_wire import convert
from headwater_wire.messages import Hello, Inventory

from tests.fakes.agent_bundle import DEVICE
from tests.fakes.agent_fleet import fleet_ear
from tests.fakes.agent_ports import MemoryJournal, QuietLink, hashed
from tests.support.signing import trust
from tests.support.waiting import until


@dataclass
class Target:
    """A link, and what the control plane heard of it: registrations, and how many heartbeats.

    `become` changes what the box is; `connect` lets the link come to its broker.
    """

    link: Downlink
    hellos: Callable[[], list[Hello]]
    beats: Callable[[], int]
    become: Callable[[Inventory], None]
    connect: Callable[[], None]

    async def registered(self, times: int) -> Hello:
        """Wait for so many registrations, and for the link to know of the last one; give it."""
        await until(lambda: len(self.hellos()) == times, f"registration {times}")
        await until(lambda: self.link.hello_hash == hashed(self.hellos()[-1]), "the hash of what was published")
        return self.hellos()[-1]


@dataclass
class Looking:
    """The port `Registrar`, of a box that changes."""

    inventory: Inventory = field(default_factory=Inventory)

    async def hello(self, epoch: int) -> Hello:
        """Tell."""
        return Hello(epoch, self.inventory)


@asynccontextmanager
async def mqtt() -> AsyncIterator[Target]:
    """The real one, and someone who listens at the broker."""
    box = Looking()
    running: list[asyncio.Task[None]] = []

    async def deliver(event: on.Event) -> None:
        """Hear, and do nothing."""

    def become(inventory: Inventory) -> None:
        box.inventory = inventory

    async with serve("127.0.0.1", 0) as broker, fleet_ear(broker.port) as ear:
        link = Link(
            Address("127.0.0.1", broker.port),
            DEVICE,
            journal=MemoryJournal(),
            registrar=box,
            vitals=lambda: Vitals(0, (), 3600),
            deliver=deliver,
            trust=trust(),
        )
        try:
            yield Target(
                link,
                lambda: [convert.hello_from(hello) for hello in ear.hellos],
                lambda: len(ear.beats),
                become,
                lambda: running.append(asyncio.create_task(link.run(), name="link")),
            )
        finally:
            for task in running:
                task.cancel()
                await asyncio.wait([task])


@asynccontextmanager
async def quiet() -> AsyncIterator[Target]:
    """The fake."""
    link = QuietLink(epoch=0)

    def become(inventory: Inventory) -> None:
        link.inventory = inventory

    yield Target(link, lambda: link.hellos, lambda: link.pulses + len(link.hellos), become, link.connect)


@pytest.fixture(params=[mqtt, quiet])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    """Each implementation, not yet connected."""
    opener: Callable[[], AbstractAsyncContextManager[Target]] = request.param
    async with opener() as opened:
        yield opened


async def test_before_the_first_connection_there_is_nothing_to_tell(target: Target) -> None:
    """Epoch 0 and no hash, by which a caller knows; to announce, or to pulse, is no mistake."""
    assert (target.link.epoch, target.link.hello_hash) == (0, "")
    await target.link.announce()
    target.link.pulse()
    assert (target.link.epoch, target.link.hello_hash, target.hellos()) == (0, "", [])


async def test_each_connection_is_registered_under_its_epoch(target: Target) -> None:
    """The hash that Sync tells is that of the registration, byte for byte."""
    target.become(Inventory(hostname="h"))
    target.connect()
    assert await target.registered(1) == Hello(1, Inventory(hostname="h"))
    assert target.link.epoch == 1


async def test_announcing_registers_again(target: Target) -> None:
    """With what the box is by then, which the hash follows; under the same epoch, also if nothing has changed."""
    target.connect()
    first = await target.registered(1)
    await target.link.announce()
    assert await target.registered(2) == first
    target.become(Inventory(hostname="another", cpus=2))
    await target.link.announce()
    assert await target.registered(3) == Hello(1, Inventory(hostname="another", cpus=2))
    assert target.link.epoch == 1


async def test_a_registration_is_shown_until_it_is_known(target: Target) -> None:
    """And again when the control plane has lost it, or it has changed; what is said of an older one changes nothing."""
    target.connect()
    hello = await target.registered(1)
    assert target.link.unknown == hello
    target.link.known(target.link.hello_hash, is_known=True)
    assert target.link.unknown is None
    await target.link.announce()
    await target.registered(2)
    assert target.link.unknown is None
    target.link.known(target.link.hello_hash, is_known=False)
    assert target.link.unknown == hello
    before = target.link.hello_hash
    target.become(Inventory(hostname="another"))
    await target.link.announce()
    changed = await target.registered(3)
    target.link.known(before, is_known=True)
    assert target.link.unknown == changed


async def test_renewing_connects_with_the_next_epoch(target: Target) -> None:
    """As often as it is asked to."""
    target.connect()
    await target.registered(1)
    for epoch in (2, 3):
        await target.link.renew()
        assert (await target.registered(epoch)).epoch == target.link.epoch == epoch


async def test_a_pulse_is_a_heartbeat_soon(target: Target) -> None:
    """One that would not have come for an hour; another pulse, another one."""
    target.connect()
    for beats in (1, 2, 3):
        await until(lambda beats=beats: target.beats() >= beats, f"heartbeat {beats}")  # type: ignore[misc]
        target.link.pulse()
