"""Who is asking: the audit log names the caller of each change, whichever gate it came through."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from headwater_control.core.audit import Caller

_ITSELF = Caller("control plane")
_CALLER = ContextVar("caller", default=_ITSELF)


@contextmanager
def calling(who: Caller) -> Iterator[None]:
    """Let what is done within be done by `who`."""
    token = _CALLER.set(who)
    try:
        yield
    finally:
        _CALLER.reset(token)


def caller() -> Caller:
    """Say who is asking; the control plane itself, if no gate said otherwise."""
    return _CALLER.get()
