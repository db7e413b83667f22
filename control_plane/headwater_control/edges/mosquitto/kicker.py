"""Ends devices' live sessions on mosquitto, through its dynamic security plugin."""

import asyncio
import itertools
import logging
from collections.abc import Iterable

import aiomqtt
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId

from headwater_control.edges.mosquitto.commands import answered, kick
from headwater_control.edges.mosquitto.rendering import COMMANDS, RESPONSES
from headwater_control.link import Link

log = logging.getLogger(__name__)

_BATCH = 50
_ANSWERED_WITHIN_S = 5.0


class Kicker:
    """Keeps a connection of its own: `end` only notes, `run` does it, again if the connection broke meanwhile."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: set[DeviceId] = set()
        self._rung = asyncio.Event()
        self._tokens = itertools.count(1)

    def end(self, devices: Iterable[DeviceId]) -> None:
        """End these devices' sessions, soon."""
        self._waiting.update(devices)
        self._rung.set()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._link.keep("bouncer", self._session)

    async def _session(self, client: aiomqtt.Client) -> None:
        answers: asyncio.Queue[bytes] = asyncio.Queue(_BATCH)
        await client.subscribe(RESPONSES, qos=1)
        self._rung.set()  # for what the connection before this one did not finish
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_read(client, answers), name="bouncer.read")
            tasks.create_task(self._work(client, answers), name="bouncer.work")

    async def _work(self, client: aiomqtt.Client, answers: asyncio.Queue[bytes]) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            while self._waiting:
                batch = sorted(self._waiting)[:_BATCH]
                self._waiting.difference_update(batch)
                try:
                    await self._kick(client, answers, batch)
                except BaseException:
                    self._waiting.update(batch)
                    raise
                log.info("ended the sessions of %s on the broker, if there were any", ", ".join(batch))

    async def _kick(self, client: aiomqtt.Client, answers: asyncio.Queue[bytes], batch: list[DeviceId]) -> None:
        token = str(next(self._tokens))
        try:
            async with asyncio.timeout(_ANSWERED_WITHIN_S):
                await client.publish(COMMANDS, kick(batch, token), qos=1)
                while (wrong := answered(await answers.get(), token)) is None:
                    pass
        except TimeoutError as error:
            raise aiomqtt.MqttError(
                "mosquitto's dynamic security plugin does not answer, so live sessions can't be ended: "
                "does mosquitto run with what `headwater broker-config` wrote?"
            ) from error
        except Malformed as error:
            raise aiomqtt.MqttError(str(error)) from error
        if wrong:
            raise aiomqtt.MqttError(f"mosquitto's dynamic security plugin refused: {'; '.join(wrong[:3])}")


async def _read(client: aiomqtt.Client, answers: asyncio.Queue[bytes]) -> None:
    """Take answers in; raise when the connection breaks, even while nothing is asked."""
    async for message in client.messages:
        await answers.put(bytes(message.payload) if isinstance(message.payload, bytes) else b"")
