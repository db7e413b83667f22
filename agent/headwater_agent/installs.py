"""Brings versions to this box, checks them in a child, and makes them the ones that its applications open."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

from headwater_wire.crashpoint import crashpoint
from headwater_wire.messages import Blob, Deployment

from headwater_agent.core import events as on
from headwater_agent.patience import Patience
from headwater_agent.ports import Cache, Died, Gone, Shelf, Worker
from headwater_agent.training import protocol

CHECK_ATTEMPTS = 3
CHECK_S = 600.0


@dataclass
class Installs:
    """Both steps end in an event, whatever happens: the machine stores an attempt between them."""

    shelf: Shelf
    cache: Cache
    worker: Worker
    patience: Patience

    async def fetch(self, wanted: Deployment) -> on.Event:
        """Bring what an install needs."""
        return await _told(wanted, self._fetch(wanted))

    async def install(self, wanted: Deployment) -> on.Event:
        """Check a version that is here, and activate it."""
        return await _told(wanted, self._install(wanted))

    async def _fetch(self, wanted: Deployment) -> on.Event:
        await self._bring_version(wanted)
        return on.VersionFetched(wanted.model, wanted.generation)

    async def _bring_version(self, wanted: Deployment) -> tuple[Path, Path, bool]:
        """Give the places of a version's graph and reference, and whether the graph is shelved already."""

        async def bring(blob: Blob, *, durably: bool) -> Path:
            what = f"the install of {wanted.version}"
            return await self.patience.insist(lambda: self.cache.get(blob, durably=durably), what, final=Gone)

        shelved = await self.shelf.find(wanted.model, wanted.version, wanted.onnx)
        onnx = shelved or await bring(wanted.onnx, durably=True)
        reference = await bring(wanted.reference, durably=False)
        return onnx, reference, shelved is not None

    async def _install(self, wanted: Deployment) -> on.Event:
        onnx, reference, is_shelved = await self._bring_version(wanted)
        crashpoint("agent.install.fetched")
        if problem := await self._check(protocol.Check(str(onnx), str(reference), wanted.tolerance)):
            return _failed(wanted, problem)
        if not is_shelved:
            await self.shelf.put(wanted.model, wanted.version, onnx)
        await self.shelf.activate(wanted.model, wanted.version)
        crashpoint("agent.install.linked")
        return on.Installed(wanted.model, wanted.generation)

    async def _check(self, job: protocol.Check) -> str:
        """Say what is wrong with a version; nothing, if it computes what it should."""
        how = ""
        for _ in range(CHECK_ATTEMPTS):
            try:
                async with asyncio.timeout(CHECK_S):
                    reply = await self.worker.run(job, lambda step: None)
            except Died as error:
                how = str(error)
                continue
            except TimeoutError:
                return f"checking it took longer than {CHECK_S:g} s"
            match reply:
                case protocol.Checked(problem):
                    return problem
                case protocol.Refused(reason) | protocol.Broke(reason):
                    return reason
                case _:
                    return f"the worker answered the check with {type(reply).__name__}"
        return f"checking it ended the worker {CHECK_ATTEMPTS} times, the last time so: {how}"


async def _told(wanted: Deployment, part: Awaitable[on.Event]) -> on.Event:
    """Tell what keeps a part of an install from being done."""
    try:
        return await part
    except Gone as error:
        return _failed(wanted, f"the control plane does not have it: {error}")
    except OSError as error:
        return _failed(wanted, f"this device can't store it: {error.strerror or error}")


def _failed(wanted: Deployment, problem: str) -> on.InstallFailed:
    return on.InstallFailed(wanted.model, wanted.generation, problem)
