"""What holds for every test: hypothesis explores at a developer's, and repeats the same examples on CI."""

import os
import signal
from collections.abc import Iterator

import pytest
from headwater_wire.telemetry import tell_nobody
from hypothesis import settings

tell_nobody()
# No deadline: a shared machine may pause a test in its middle, which says nothing about the code.
settings.register_profile("explore", deadline=None)
settings.register_profile("repeat", deadline=None, derandomize=True)
settings.load_profile("repeat" if os.environ.get("CI") else "explore")

# A shell's background job ignores Ctrl-C, and what it starts inherits that: here some of it is interrupted by a test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Whose tests these are may be logged in somewhere: no test is to go there. What tests logins sets a folder of its own.
os.environ["XDG_CONFIG_HOME"] = os.devnull
for variable in ("HEADWATER_URL", "HEADWATER_TOKEN", "HEADWATER_CA"):
    os.environ.pop(variable, None)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A service that was run within a test ignores signals on its way out, and so would whatever we start after it."""
    heard = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in heard.items():
        signal.signal(number, handler)


_LONG_FIRST = ("tests/system/", "tests/agent/test_daemon.py", "tests/headwater/", "tests/control_plane/test_server.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, lest the last of them be run while the other processors have nothing."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG_FIRST))
