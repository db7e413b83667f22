"""One direction of one connection: read, spoil, wait, write."""

import asyncio
from collections.abc import Callable
from random import Random

from tests.faults.faults import Faults
from tests.faults.packets import Packets

_READ_BYTES = 16 * 1024
_QUEUED = 64  # reads under way: a megabyte in the wire
_PIECES_A_SECOND = 20  # of a slow link
_OVERTAKEN_WITHIN_S = 0.2  # a packet that waits for a successor in vain goes on


class Flow:
    """Carries bytes from a reader to a writer. `faults` is asked anew for each piece; `carried` hears of each."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        faults: Callable[[], Faults],
        flowing: asyncio.Event,
        random: Random,
        packets: Packets | None,
        carried: Callable[[int], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._faults = faults
        self._flowing = flowing
        self._random = random
        self._packets = packets
        self._carried = carried
        self._wire: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        self._until_flip = 0
        self.flipped = 0

    async def run(self) -> None:
        """Carry until the end of what is read, which is passed on; raise `ConnectionError` if either side breaks."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read(), name="fault.read")
            both.create_task(self._write(), name="fault.write")

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time
        due_s = now()
        while True:
            await self._flowing.wait()
            data = await self._reader.read(_READ_BYTES)
            faults = self._faults()
            delay_s = faults.latency_s + faults.jitter_s * self._random.random()
            due_s = max(due_s, now() + delay_s)
            await self._wire.put((due_s, data))
            if not data:
                return

    async def _write(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            try:
                async with asyncio.timeout(_OVERTAKEN_WITHIN_S if self._packets and self._packets.holding else None):
                    due_s, data = await self._wire.get()
            except TimeoutError:
                assert self._packets is not None
                await self._send(self._packets.release())
                continue
            await asyncio.sleep(max(0.0, due_s - now()))
            if not data:
                await self._flowing.wait()
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                return
            await self._send(self._packets.feed(data, self._faults()) if self._packets else data)

    async def _send(self, data: bytes) -> None:
        while data:
            await self._flowing.wait()
            faults = self._faults()
            most = max(1, int(faults.slow / _PIECES_A_SECOND)) if faults.slow else len(data)
            piece, data = data[:most], data[most:]
            if faults.slow:
                await asyncio.sleep(len(piece) / faults.slow)
                await self._flowing.wait()
            self._writer.write(self._spoilt(piece, faults))
            await self._writer.drain()
            self._carried(len(piece))

    def _spoilt(self, piece: bytes, faults: Faults) -> bytes:
        """Flip a bit in about every `corrupt` bytes, wherever the dice say."""
        if not faults.corrupt:
            return piece
        spoilt = bytearray(piece)
        self._until_flip = self._until_flip or self._random.randint(1, 2 * faults.corrupt)
        place = self._until_flip - 1
        while place < len(spoilt):
            spoilt[place] ^= 1 << self._random.randrange(8)
            self.flipped += 1
            place += self._random.randint(1, 2 * faults.corrupt)
        self._until_flip = place - len(spoilt) + 1
        return bytes(spoilt)
