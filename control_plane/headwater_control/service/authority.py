"""Whose rights a use case is bound by. Gates check roles; what somebody's labels reach is checked here."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from headwater_control.core.authority import Principal, Role
from headwater_control.ports import Labels
from headwater_control.service.errors import Forbidden

_ITSELF = Principal("control plane", Role.ADMIN)
_PRINCIPAL = ContextVar("principal", default=_ITSELF)


@contextmanager
def acting(who: Principal) -> Iterator[None]:
    """Let what is done within be bound by the rights of `who`."""
    token = _PRINCIPAL.set(who)
    try:
        yield
    finally:
        _PRINCIPAL.reset(token)


def principal() -> Principal:
    """Say who acts; the control plane itself, if no gate said otherwise."""
    return _PRINCIPAL.get()


def sees(labels: Labels) -> bool:
    """Say whether whoever acts may know of what has `labels`."""
    return principal().reaches(labels)


def must_reach(labels: Labels, what: str) -> None:
    """Raise `Forbidden` unless whoever acts may change what has `labels`."""
    who = principal()
    if not who.reaches(labels):
        limits = ", ".join(f"{key}={value}" for key, value in who.labels)
        raise Forbidden(f"{who.name} is limited to {limits}: {what}")
