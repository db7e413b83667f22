"""mosquitto's own certificate: it is issued anew in time, for the names it has."""

import asyncio
import logging
import stat
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Never

from cryptography import x509
from headwater_wire import durable

from headwater_control.edges.mosquitto.reload import NotReloaded, Reload
from headwater_control.edges.mosquitto.rendering import IDENTITY
from headwater_control.ports import Clock

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 3600.0

Issue = Callable[[Sequence[str], datetime], bytes]  # names and the time: a server's key and chain in PEM


class Renewal:
    """An expired certificate would lock the whole fleet out, and who runs a broker forgets it."""

    def __init__(self, folder: Path, issue: Issue, command: Sequence[str], clock: Clock) -> None:
        self._file = folder / IDENTITY
        self._issue = issue
        self._reload = Reload(command)
        self._clock = clock
        self._unread = False  # mosquitto could not be told of the last one

    async def run(self) -> Never:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.renew_if_due(self._clock.now())
            except (NotReloaded, OSError, ValueError, x509.ExtensionNotFound) as error:
                log.error("mosquitto's certificate can't be renewed: %s; `headwater broker-config` does it too", error)
            await self._clock.sleep(_LOOK_EVERY_S)

    async def renew_if_due(self, now: datetime) -> bool:
        """Issue a new certificate if the present one is past half its life, and say whether that was so.

        Raises `NotReloaded`, and `OSError` or `ValueError` if the present one can't be read.
        """
        leaf = x509.load_pem_x509_certificates(self._file.read_bytes())[0]
        begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        due = now >= begins + (ends - begins) / 2
        if due:
            await asyncio.to_thread(self._write, self._issue(_names(leaf), now))
            self._unread = True
        if self._unread:
            await self._reload.run()
            self._unread = False
            log.info("mosquitto has a new certificate")
        return due

    def _write(self, identity: bytes) -> None:
        mode = stat.S_IMODE(self._file.stat().st_mode)  # the broker's group may read it
        durable.write(self._file, identity, private=True)
        self._file.chmod(mode)


def _names(leaf: x509.Certificate) -> list[str]:
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return [*found.get_values_for_type(x509.DNSName), *addresses]
