"""Whose a gRPC call is: the certificate says so, and it is looked up at each call whether it still counts."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, check_name

from headwater_control import certificates
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
        roll.on_bar(self._end_calls)

    @contextmanager
    def call(self, context: Context, claimed: str) -> Iterator[DeviceId]:
        """Give the device whose call this is, as long as it may go on; raise `Refused`, also if it claims another."""
        device = self._device(context, claimed)
        task = asyncio.current_task()
        assert task is not None, "a servicer runs in a task"
        if len(self._calls.get(device, ())) >= _AT_ONCE:
            raise Full(f"calls of device {device}")
        self._calls.setdefault(device, set()).add(task)
        try:
            yield device
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise Refused(Code.PERMISSION_DENIED, f"device {device} is shut out") from None
        finally:
            self._cut.discard(task)
            self._calls[device].discard(task)
            if not self._calls[device]:
                del self._calls[device]

    def _device(self, context: Context, claimed: str) -> DeviceId:
        named = DeviceId(check_name(claimed, "device"))
        if not self._certified:
            return named
        pem = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        try:
            who = certificates.from_pem(pem)
        except Malformed as error:
            raise Refused(Code.UNAUTHENTICATED, f"that certificate lets nobody in: {error}") from error
        if who.device is None or who.device != named:
            raise Refused(Code.PERMISSION_DENIED, f"the certificate is {who.device!r}'s, the call says {named!r}")
        if self._roll.barred.bars(who.device, who.serial):
            raise Refused(Code.PERMISSION_DENIED, f"device {named} is shut out, or its certificate was revoked")
        return named

    def _end_calls(self, device: DeviceId) -> None:
        for task in self._calls.get(device, ()):
            self._cut.add(task)
            task.cancel()
