"""Whose a gRPC call is: the certificate says so, and it is looked up at each call whether it still counts."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, check_name

from headwater_control import certificates
from headwater_control.gates.connections import Connections
from headwater_control.gates.status import Code, Full, Refused
from headwater_control.service.roll import Roll

_AT_ONCE = 16  # calls of one device: a few devices must not take all the places

Context = grpc.aio.ServicerContext[Any, Any]


class Peers:
    """Knows the calls under way. `certified` is false only on loopback without TLS: there a call's word counts."""

    def __init__(self, roll: Roll, *, certified: bool) -> None:
        self._roll = roll
        self._certified = certified
        self._calls: dict[DeviceId, set[asyncio.Task[Any]]] = {}
        self._cut: set[asyncio.Task[Any]] = set()
        self.connections = Connections()
        roll.on_bar(self._end_calls)

    @contextmanager
    def call(self, context: Context, claimed: str) -> Iterator[DeviceId]:
        """Give the device whose call this is, as long as it may go on; raise `Refused`, also if it claims another."""
        with self.opened(context) as opened:
            yield opened.says(claimed)

    @contextmanager
    def opened(self, context: Context) -> Iterator["Opened"]:
        """Do the same for a call that has said nothing yet: it, too, lasts only as long as its certificate counts."""
        task = asyncio.current_task()
        assert task is not None, "a servicer runs in a task"
        opened = Opened(task, self._calls)
        if self._certified:
            opened.belongs_to(self._shown(context))
        try:
            yield opened
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise Refused(Code.PERMISSION_DENIED, f"device {opened.device} is shut out") from None
        finally:
            self._cut.discard(task)
            opened.end()

    def _shown(self, context: Context) -> DeviceId:
        pem = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        try:
            who = certificates.from_pem(pem)
        except Malformed as error:
            raise Refused(Code.UNAUTHENTICATED, f"that certificate lets nobody in: {error}") from error
        if who.device is None:
            raise Refused(Code.PERMISSION_DENIED, "that certificate is the control plane's own, no device's")
        if self._roll.barred.bars(who.device, who.serial):
            self.connections.refuse(context.peer())
            raise Refused(Code.PERMISSION_DENIED, f"device {who.device} is shut out, or its certificate was revoked")
        self.connections.seen(context.peer(), who.device)
        return who.device

    def _end_calls(self, device: DeviceId) -> None:
        for task in self._calls.get(device, ()):
            self._cut.add(task)
            task.cancel()
        self.connections.end(device)


class Opened:
    """A call under way. Without TLS nobody knows whose it is until it says so."""

    def __init__(self, task: asyncio.Task[Any], calls: dict[DeviceId, set[asyncio.Task[Any]]]) -> None:
        self.device: DeviceId | None = None
        self._task = task
        self._calls = calls

    def says(self, claimed: str) -> DeviceId:
        """Take what the call says of itself; raise `Refused` if it claims to be another's, `Malformed` if no name."""
        named = DeviceId(check_name(claimed, "device"))
        if self.device is None:
            self.belongs_to(named)
        elif self.device != named:
            raise Refused(Code.PERMISSION_DENIED, f"the certificate is {self.device!r}'s, the call says {named!r}")
        return named

    def belongs_to(self, device: DeviceId) -> None:
        """Count it among a device's calls; raise `Full` if that has too many."""
        if len(self._calls.get(device, ())) >= _AT_ONCE:
            raise Full(f"calls of device {device}")
        self._calls.setdefault(device, set()).add(self._task)
        self.device = device

    def end(self) -> None:
        """Count it no more."""
        if self.device is not None:
            self._calls[self.device].discard(self._task)
            if not self._calls[self.device]:
                del self._calls[self.device]
