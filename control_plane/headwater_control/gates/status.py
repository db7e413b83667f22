"""Which gRPC status a refusal or failure becomes: always with a sentence, never a stack trace."""

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from headwater_wire.admission import RETRY_DELAY
from headwater_wire.errors import DigestMismatch, LengthMismatch, WireError

from headwater_control.ports import Busy, CantIssue, TakenOver
from headwater_control.service.errors import Conflict, Forbidden, NotFound, ServiceError

log = logging.getLogger(__name__)

Code = grpc.StatusCode


class Refused(Exception):
    """A call that the gate itself ends."""

    def __init__(self, code: grpc.StatusCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Full(Refused):
    """Too many at once: come back after a delay, drawn so that not all come back together."""

    def __init__(self, what: str, pause_s: float | None = None) -> None:
        drawn_s = random.uniform(0.5, 1.5)  # noqa: S311 (jitter, no secret)
        self.delay_ms = int((drawn_s if pause_s is None else pause_s) * 1000)
        super().__init__(Code.RESOURCE_EXHAUSTED, f"too many {what} at once: come back in {self.delay_ms} ms")


def code_of(error: Exception) -> grpc.StatusCode:
    """Choose the status. ABORTED: the bytes were damaged or cut, and were discarded: send them again from 0."""
    match error:
        case Refused():
            return error.code
        case DigestMismatch() | LengthMismatch():
            return Code.ABORTED
        case NotFound():
            return Code.NOT_FOUND
        case Forbidden():
            return Code.PERMISSION_DENIED
        case Conflict():
            return Code.FAILED_PRECONDITION
        case WireError() | ServiceError():
            return Code.INVALID_ARGUMENT
        case TimeoutError():
            return Code.DEADLINE_EXCEEDED
        case TakenOver():
            return Code.CANCELLED
        case Busy() | CantIssue() | OSError():  # a full disk: the agent keeps its spool and comes again
            return Code.UNAVAILABLE
        case _:
            return Code.INTERNAL


@asynccontextmanager
async def answered(context: grpc.aio.ServicerContext[Any, Any], call: str) -> AsyncIterator[None]:
    """End the call with a status if the body raises; a bug's trace stays in our log."""
    try:
        yield
    except Exception as error:
        code = code_of(error)
        sentence = str(error)
        if isinstance(error, Busy):
            log.warning("%s was not answered, since the database is busy: %s", call, error)
            sentence = "the control plane is busy: call again"
        elif isinstance(error, CantIssue):
            log.error("%s was not answered, since no certificate can be issued: %s", call, error)
            sentence = (
                "the control plane can't issue certificates at the moment, and its log says why: call again later"
            )
        elif code in {Code.INTERNAL, Code.UNAVAILABLE}:
            log.exception("%s failed", call)
            sentence = "the control plane failed; its log says why"
        elif code is Code.DEADLINE_EXCEEDED:
            sentence = sentence or "nothing moved for too long: call again"
        log.debug("%s from %s: %s: %s", call, context.peer(), code.name, sentence)
        metadata = ((RETRY_DELAY, str(error.delay_ms)),) if isinstance(error, Full) else ()
        await context.abort(code, sentence, metadata)
