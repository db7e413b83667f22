"""One process at a time in a state_dir."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater_wire import durable

from headwater_agent.ports import AgentError


class AlreadyRunning(AgentError):
    """Another agent lives in this state_dir."""


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Hold the state_dir for this process alone; raise `AlreadyRunning`."""
    durable.make_dirs(state)
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(f"another agent uses {state}: stop it, or choose another agent.state_dir") from error
        yield
    finally:
        os.close(descriptor)
