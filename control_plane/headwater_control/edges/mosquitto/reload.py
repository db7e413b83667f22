"""How mosquitto is told to read its files again: by a command of the operator's."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import suppress

_WITHIN_S = 10.0
_DEAD_WITHIN_S = 1.0
_TOLD_CHARACTERS = 300


class NotReloaded(Exception):
    """mosquitto could not be given what is new, and goes on with what it had: the message says why."""


class Reload:
    """The command. While one that can't be killed still runs no other is begun: they would pile up, try by try."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._last: Process | None = None

    async def run(self) -> None:
        """Run the command, without a shell; raise `NotReloaded` unless it succeeds soon."""
        name = self._command[0]
        if self._last is not None and self._last.returncode is None:
            raise NotReloaded(f"{name} still hangs since the last time: end it")
        try:
            process = await asyncio.create_subprocess_exec(*self._command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
        except OSError as error:
            raise NotReloaded(f"can't run {name}: {error.strerror}") from error
        self._last = process
        try:
            async with asyncio.timeout(_WITHIN_S):
                told, _ = await process.communicate()
        except TimeoutError as error:
            raise NotReloaded(f"{name} did not end within {_WITHIN_S:.0f} s") from error
        finally:
            if process.returncode is None:
                await _end(process)
        if process.returncode:
            words = told.decode(errors="replace").strip()[-_TOLD_CHARACTERS:]
            raise NotReloaded(f"{name} ended with {process.returncode}: {words}")


async def _end(process: Process) -> None:
    """Kill it. What can't be is left behind: a setuid command (sudo), or a child of it, that still has its output."""
    with suppress(PermissionError, TimeoutError):
        process.kill()
        async with asyncio.timeout(_DEAD_WITHIN_S):
            await process.wait()
