"""An agent with nothing to do, and a control side that counts its bytes."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 30.0


class Control:
    """The control side, in another process: it ends with the context."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.idle_control"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str = "state") -> dict[str, Any]:
        """Say something; get its counters."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        state: dict[str, Any] = json.loads(self._process.stdout.readline())
        return state

    def until(self, key: str, least: int, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for a counter."""
        end = time.monotonic() + within_s
        while (state := self.ask())[key] < least:
            if time.monotonic() > end:
                raise TimeoutError(f"{key} did not reach {least}")
            time.sleep(0.05)
        return state

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def idle_agent(folder: Path) -> Iterator[tuple[Control, int]]:
    """Run one against a control side of its own; give that, and the agent's process id."""
    control = Control()
    ports = control.ask()
    config = folder / "agent.toml"
    config.write_text(
        f'[agent]\nid = "bench"\nstate_dir = "state"\n'
        f'[control_plane]\ninsecure = true\nbroker = "mqtt://127.0.0.1:{ports["broker"]}"\n'
        f'gateway = "127.0.0.1:{ports["gateway"]}"\n'
    )
    agent = subprocess.Popen(
        [sys.executable, "-m", "headwater_agent", "run", "--config", str(config), "--log-level", "error"]
    )
    try:
        yield control, agent.pid
    finally:
        agent.kill()
        agent.wait()
        control.close()
