"""Asks for a process to be forked, and hears how it ended."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from headwater.demo.processes import Child, cold

_LOOK_EVERY_S = 0.01


def launch(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
    """Start `python -m MODULE ARGUMENTS…` by a fork, anything else as ever."""
    python, *words = command
    if python != sys.executable or words[:1] != ["-m"] or "LD_PRELOAD" in env:  # which the loader looks at, no fork
        return cold(command, log, env)
    return _nursery().fork(words[1:], log, env)


class _Forked:
    """What `subprocess.Popen` says of a child, of one that is another process's."""

    def __init__(self, nursery: "_Nursery", pid: int) -> None:
        self.pid = pid
        self._nursery = nursery

    def poll(self) -> int | None:
        """Give its exit code, negative for a signal; None while it runs."""
        return self._nursery.exit_code(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise `subprocess.TimeoutExpired`."""
        until = time.monotonic() + timeout if timeout is not None else None
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_LOOK_EVERY_S)
        return code

    def terminate(self) -> None:
        """Ask it to stop."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)


class _Nursery:
    """The process that has loaded everything, and forks on request."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.support.warm", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[3])
        theirs.close()
        self._socket = ours
        self._lines: IO[bytes] = ours.makefile("rb")
        self._codes: dict[int, int] = {}
        self._changed = threading.Condition()
        self._born: list[int] = []
        self._one = threading.Lock()
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()
        atexit.register(self._end)

    def fork(self, words: Sequence[str], log: Path, env: Mapping[str, str]) -> _Forked:
        """Have a child."""
        log.touch()
        wish = {"words": list(words), "log": str(log.absolute()), "env": dict(env), "folder": str(Path.cwd())}
        with self._one, self._changed:
            self._socket.sendall(json.dumps(wish).encode() + b"\n")
            if not self._changed.wait_for(lambda: self._born, timeout=60):
                raise AssertionError("the warm process answers no more")
            return _Forked(self, self._born.pop())

    def exit_code(self, pid: int) -> int | None:
        """Say how a child ended."""
        with self._changed:
            return self._codes.get(pid)

    def _listen(self) -> None:
        for line in self._lines:
            told = json.loads(line)
            with self._changed:
                if "code" in told:
                    self._codes[told["pid"]] = told["code"]
                else:
                    self._codes.pop(told["pid"], None)
                    self._born.append(told["pid"])
                self._changed.notify_all()

    def _end(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait(10)


@cache
def _nursery() -> _Nursery:
    return _Nursery()
