"""One box of a fleet on this machine: a folder with its data and the agent's configuration."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headwater.client import Client
from headwater.demo.processes import Agent, Endpoints, Enrolment, Launch, cold


@dataclass(frozen=True, slots=True)
class Box:
    """A device to be: its folder holds agent.toml, the data it names, and, once it runs, its state and log."""

    id: str
    folder: Path

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "agent.toml"

    @property
    def installed(self) -> Path:
        """Where its models are installed."""
        return self.folder / "state" / "models"

    def start(
        self, *, env: Mapping[str, str] | None = None, prefix: tuple[str, ...] = (), launch: Launch = cold
    ) -> Agent:
        """Start its agent."""
        return Agent(self.config, log=self.folder / "agent.log", env=env, prefix=prefix, launch=launch)

    def enrol(self, client: Client) -> Enrolment:
        """Begin to get it its certificate, by an invitation that is for it alone."""
        invited = client.devices.invite(device=self.id)
        return Enrolment(self.config, invited.token, log=self.folder / "enrol.log")


def make_box(
    folder: Path,
    device: str,
    endpoints: Endpoints,
    datasets: str,
    *,
    labels: Mapping[str, str] | None = None,
    engine: str = "portable",
) -> Box:
    """Write the configuration of a box to be enrolled; `datasets` is TOML, and its relative paths start at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    box = Box(device, folder)
    lines = [
        "[agent]",
        f"id = {json.dumps(device)}",
        'state_dir = "state"',
        "",
        "[agent.labels]",
        *(f"{key} = {json.dumps(value)}" for key, value in (labels or {}).items()),
        "",
        *([] if endpoints.secure else _insecure(endpoints)),
        "[training]",
        f"engine = {json.dumps(engine)}",
        "",
        datasets,
    ]
    box.config.write_text("\n".join(lines), encoding="utf-8")
    return box


def _insecure(endpoints: Endpoints) -> list[str]:
    return [
        "[control_plane]",
        "insecure = true",
        f"broker = {json.dumps(endpoints.mqtt)}",
        f"gateway = {json.dumps(endpoints.grpc)}",
        "",
    ]
