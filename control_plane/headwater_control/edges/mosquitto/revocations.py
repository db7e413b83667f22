"""The list of revoked certificates (CRL, RFC 5280) that mosquitto reads when it is told to."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headwater_wire import durable

from headwater_control.edges.mosquitto.reload import NotReloaded, Reload
from headwater_control.edges.mosquitto.rendering import CRL

Sign = Callable[[Collection[str], datetime], bytes]  # serials (hex) and the time: a CRL in PEM


class RevocationList:
    """The list in a mosquitto's folder, and the command by which mosquitto reads it."""

    def __init__(self, folder: Path, sign: Sign, command: Sequence[str]) -> None:
        self._file = folder / CRL
        self._sign = sign
        self._reload = Reload(command)
        self._at = datetime.min.replace(tzinfo=UTC)

    async def replace(self, serials: Collection[str], now: datetime) -> None:
        """List exactly these, durably, and return once the command has; raise `NotReloaded`."""
        # A TLS library that has two lists takes the later one, and they tell the time in seconds.
        self._at = max(now, self._at + timedelta(seconds=1))
        try:
            await asyncio.to_thread(self._write, self._sign(serials, self._at))
        except OSError as error:
            raise NotReloaded(f"can't write {self._file}: {error.strerror}") from error
        await self._reload.run()

    def _write(self, data: bytes) -> None:
        durable.write(self._file, data)
        self._file.chmod(0o644)  # whatever our umask is: the broker may be another user, and a CRL is no secret
