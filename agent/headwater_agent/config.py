"""The agent's configuration: a TOML file and `HEADWATER_*` variables over it, frozen, each value with its origin."""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, check_name

from headwater_agent.settings import BadSetting, Section, Settings
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig

ENGINES = ("portable", "native", "constant")
MEMORY = ("normal", "small")
FORMATS = ("npz", "csv", "idx")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect to."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """[agent]"""

    id: DeviceId
    state_dir: Path
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ControlPlaneConfig:
    """[control_plane]"""

    broker: Address
    gateway: Address


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """[training]"""

    engine: str
    memory: str
    worker_idle_s: float
    nice: int
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Config:
    """All of it. `origins` tells for each value (a dotted name, as TOML spells it) where it came from."""

    agent: AgentConfig
    control_plane: ControlPlaneConfig
    training: TrainingConfig
    datasets: tuple[DatasetConfig, ...]
    origins: tuple[tuple[str, str, str], ...]  # name, value, origin


def load(file: Path, environment: Mapping[str, str]) -> Config:
    """Read and check; raise `BadSetting` naming the key, the file and the line."""
    settings = Settings.read(file, environment)
    top = settings.top()
    config = Config(
        agent=_agent(top.section("agent"), file),
        control_plane=_control_plane(top.section("control_plane")),
        training=_training(top.section("training")),
        datasets=tuple(_dataset(section, file) for section in top.section("datasets").sections()),
        origins=(),
    )
    top.refuse_unknown()
    return Config(config.agent, config.control_plane, config.training, config.datasets, settings.origins())


def _agent(section: Section, file: Path) -> AgentConfig:
    device = section.text("id", default=_hostname())
    labels = section.section("labels")
    named = []
    for key in labels.names():
        value = labels.text(key)
        labels.check(key, partial(_check_label, key, value))
        named.append((key, value))
    if not device:
        raise section.missing("id", "this machine's host name can't serve as one: choose letters, digits and '-'")
    section.check("id", lambda: check_name(device, "device"))
    return AgentConfig(
        id=DeviceId(device),
        state_dir=_place(section.text("state_dir", default="/var/lib/headwater-agent"), file),
        labels=tuple(sorted(named)),
    )


def _control_plane(section: Section) -> ControlPlaneConfig:
    broker = section.text("broker", default="mqtt://127.0.0.1:1883")
    gateway = section.text("gateway", default="127.0.0.1:8090")
    return ControlPlaneConfig(
        broker=section.check("broker", lambda: _address(broker, "mqtt", 1883)),
        gateway=section.check("gateway", lambda: _address(f"grpc://{gateway}", "grpc", 8090)),
    )


def _training(section: Section) -> TrainingConfig:
    return TrainingConfig(
        engine=section.one_of("engine", ENGINES, default="portable"),
        memory=section.one_of("memory", MEMORY, default="normal"),
        worker_idle_s=section.number("worker_idle_s", default=300.0, least=0.0, most=86_400.0),
        nice=section.integer("nice", default=10, least=0, most=19),
        max_attempts=section.integer("max_attempts", default=3, least=1, most=100),
    )


def _dataset(section: Section, file: Path) -> DatasetConfig:
    section.check(None, lambda: check_name(section.name, "dataset"))
    kind = section.one_of("format", FORMATS)
    path = str(_place(section.text("path"), file))
    columns = tuple(_column(column) for column in section.section("columns").sections())
    if not columns:
        raise section.missing("columns", f"write [{section.path}.columns.NAME] for each model input and for label")
    return DatasetConfig(section.name, kind, path, columns)


def _column(section: Section) -> ColumnConfig:
    return ColumnConfig(
        name=section.name,
        source=section.texts("source"),
        dtype=section.text("dtype", default="float32"),
        shape=section.sizes("shape"),
        scale=section.number("scale", default=1.0),
        mean=section.number("mean", default=0.0),
        std=section.number("std", default=1.0, above=0.0),
    )


def _check_label(key: str, value: str) -> None:
    check_name(key, "label")
    check_name(value, "label value")


def _place(path: str, file: Path) -> Path:
    return (file.absolute().parent / Path(path).expanduser()).resolve()


def _hostname() -> str:
    name = socket.gethostname()
    try:
        return check_name(name, "device")
    except Malformed:
        return ""


def _address(url: str, scheme: str, port: int) -> Address:
    parts = urlsplit(url)
    if parts.scheme != scheme or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{url!r} is no address such as {scheme}://127.0.0.1:{port}".replace("grpc://", ""))
    try:
        local = ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        local = parts.hostname == "localhost"
    if not local:
        raise BadSetting(
            f"{parts.hostname} is another machine, and there is no TLS yet: what the agent tells and does could be "
            "read and changed on the way. Use 127.0.0.1, ::1 or localhost; an SSH tunnel brings the control plane there"
        )
    return Address(parts.hostname, parts.port or port)
