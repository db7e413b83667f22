"""Who is shut out: the list first, then the live sessions, again and again until both have worked."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from headwater_control.edges.mosquitto import Bouncer, Kicker, NotReloaded, RevocationList
from headwater_control.link import Link
from headwater_wire.ids import DeviceId

from tests.fakes.clock import FakeClock
from tests.support.waiting import until

ONE, TWO = DeviceId("box-1"), DeviceId("box-2")
Deed = tuple[str, frozenset[str]]


class Broker(RevocationList):
    """A broker that notes what is done to it, and fails as often as it should."""

    def __init__(self, deeds: list[Deed]) -> None:
        super().__init__(Path("nowhere"), lambda serials, now: b"", ())
        self.deeds = deeds
        self.failures = 0

    async def replace(self, serials: Collection[str], now: datetime) -> None:
        """Note the list."""
        if self.failures:
            self.failures -= 1
            self.deeds.append(("failed", frozenset(serials)))
            raise NotReloaded("out of order")
        self.deeds.append(("listed", frozenset(serials)))


class Hand(Kicker):
    """Notes who is put out."""

    def __init__(self, deeds: list[Deed]) -> None:
        super().__init__(Link("127.0.0.1", 1))
        self.deeds = deeds

    def end(self, devices: Iterable[DeviceId]) -> None:
        """Note them."""
        if ended := frozenset(devices):
            self.deeds.append(("ended", ended))

    async def run(self) -> None:
        """Do nothing."""
        await asyncio.Event().wait()


class Stage:
    """A bouncer, what it is told, and what it did."""

    def __init__(self, worthless: dict[str, DeviceId]) -> None:
        self.deeds: list[Deed] = []
        self.worthless = worthless
        self.broker = Broker(self.deeds)
        self.bouncer = Bouncer(self.broker, Hand(self.deeds), self._worthless, FakeClock())

    async def _worthless(self) -> dict[str, DeviceId]:
        return dict(self.worthless)

    def shut_out(self, serial: str, device: DeviceId) -> None:
        """Shut a device out that has one certificate."""
        self.worthless[serial] = device
        self.bouncer.cut(device)
        self.bouncer.changed()

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Let it run, from after its first list on."""
        task = asyncio.create_task(self.bouncer.run())
        await until(lambda: bool(self.deeds), "the first list is written")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def did(self, *deeds: Deed) -> None:
        """Wait until it has done these, in this order, before anything else."""
        await until(lambda: len(self.deeds) >= len(deeds), f"{deeds} is done")
        assert self.deeds[: len(deeds)] == list(deeds)


def deed(what: str, *names: str) -> Deed:
    """Spell a deed."""
    return what, frozenset(names)


async def test_at_the_start_all_are_listed_and_put_out() -> None:
    """A control plane that died between the two must not leave somebody inside."""
    stage = Stage({"a1": ONE, "b1": TWO})
    async with stage.playing():
        await stage.did(deed("listed", "a1", "b1"), deed("ended", ONE, TWO))


async def test_the_door_is_locked_before_who_is_inside_is_put_out() -> None:
    """The other way round it would come back in between; and others are left alone."""
    stage = Stage({"a1": ONE})
    async with stage.playing():
        await stage.did(deed("listed", "a1"), deed("ended", ONE))
        stage.deeds.clear()
        stage.shut_out("b1", TWO)
        await stage.did(deed("listed", "a1", "b1"), deed("ended", TWO))


async def test_who_came_in_meanwhile_is_put_out_a_second_later() -> None:
    """mosquitto reads the list soon after it was told to, and nobody knows when."""
    stage = Stage({})
    async with stage.playing():
        stage.shut_out("a1", ONE)
        await stage.did(deed("listed"), deed("listed", "a1"), deed("ended", ONE), deed("ended", ONE))


async def test_who_is_enabled_again_leaves_the_list() -> None:
    """Nobody is put out for it."""
    stage = Stage({"a1": ONE})
    async with stage.playing():
        await stage.did(deed("listed", "a1"), deed("ended", ONE))
        stage.deeds.clear()
        stage.worthless.clear()
        stage.bouncer.changed()
        await stage.did(deed("listed"))


async def test_a_list_that_is_read_already_is_not_written_again() -> None:
    """A device that is shut out without a certificate is put out, and that is all."""
    stage = Stage({})
    async with stage.playing():
        await stage.did(deed("listed"))
        stage.bouncer.cut(ONE)
        await stage.did(deed("listed"), deed("ended", ONE))


async def test_a_reload_that_fails_is_tried_again_and_its_devices_are_put_out_each_time() -> None:
    """They come back until it works; at last all on the list are put out, since nobody knows what was read."""
    stage = Stage({})
    async with stage.playing():
        await stage.did(deed("listed"))
        stage.deeds.clear()
        stage.broker.failures = 2
        stage.shut_out("a1", ONE)
        failed = (deed("failed", "a1"), deed("ended", ONE))
        await stage.did(*failed, *failed, deed("listed", "a1"), deed("ended", ONE))
