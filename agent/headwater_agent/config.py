"""The agent's configuration: a TOML file and `HEADWATER_*` variables over it, frozen, each value with its origin."""

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, check_name

from headwater_agent import owner
from headwater_agent.circumstances import Circumstances, read_conditions
from headwater_agent.core.conditions import MB
from headwater_agent.core.policy import Policy
from headwater_agent.core.session import DEFAULT_BYTES, DEFAULT_DAYS, Quota
from headwater_agent.settings import BadSetting, Section, Settings
from headwater_agent.thrift import Thrift
from headwater_agent.training.confinement import MODES as CONFINEMENT
from headwater_agent.training.io_priority import NAMES as IO_PRIORITIES
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
    named: bool  # by the owner; else it is the host's name
    state_dir: Path
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ControlPlaneConfig:
    """[control_plane]"""

    broker: Address | None  # None: where enrolment said
    gateway: Address | None
    insecure: bool  # without identity and TLS, on loopback
    keepalive_s: int = 120  # of MQTT: a broken connection is noticed after twice as long at most
    patience_s: float = 30.0  # how long the gateway's answer, or its next chunk, may take


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """[training]"""

    engine: str
    memory: str
    memory_mb: int  # of the training child; 0: half of what there is
    worker_idle_s: float
    nice: int
    max_attempts: int
    confinement: str
    io_priority: str
    thrift: Thrift


@dataclass(frozen=True, slots=True)
class Config:
    """All of it. `origins` tells for each value (a dotted name, as TOML spells it) where it came from."""

    agent: AgentConfig
    control_plane: ControlPlaneConfig
    training: TrainingConfig
    datasets: tuple[DatasetConfig, ...]
    policy: Policy
    conditions: Circumstances
    spool: Quota
    origins: tuple[tuple[str, str, str], ...]  # name, value, origin


def load(file: Path, environment: Mapping[str, str]) -> Config:
    """Read and check; raise `BadSetting` naming the key, the file and the line."""
    settings = Settings.read(file, environment)
    top = settings.top()
    data = top.section("datasets")
    conditions = read_conditions(top.section("conditions"))
    config = Config(
        agent=_agent(top.section("agent"), file),
        control_plane=_control_plane(top.section("control_plane")),
        training=_training(top.section("training"), keep_free_mb=conditions.wanted.min_free_mb),
        datasets=tuple(_dataset(section, file) for section in data.sections()),
        policy=owner.read_policy(top.section("policy"), data.names()),
        conditions=conditions,
        spool=_spool(top.section("spool")),
        origins=(),
    )
    top.refuse_unknown()
    return replace(config, origins=settings.origins())


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
        named="id" in section.names(),
        state_dir=_place(section.text("state_dir", default="/var/lib/headwater-agent"), file),
        labels=tuple(sorted(named)),
    )


def _control_plane(section: Section) -> ControlPlaneConfig:
    insecure = section.flag("insecure", default=False)
    scheme, port = ("mqtt", 1883) if insecure else ("mqtts", 8883)
    broker = section.text("broker", default=f"{scheme}://127.0.0.1:{port}" if insecure else "")
    gateway = section.text("gateway", default="127.0.0.1:8090" if insecure else "")

    def place(key: str, url: str, scheme: str, port: int) -> Address | None:
        return section.check(key, lambda: _address(url, scheme, port, insecure=insecure)) if url else None

    return ControlPlaneConfig(
        broker=place("broker", broker, scheme, port),
        gateway=place("gateway", gateway and f"grpc://{gateway}", "grpc", 8090),
        insecure=insecure,
        keepalive_s=section.integer("keepalive_s", default=120, least=1, most=3600),
        patience_s=section.number("patience_s", default=30.0, least=1.0, most=3600.0),
    )


def _training(section: Section, *, keep_free_mb: float) -> TrainingConfig:
    return TrainingConfig(
        engine=section.one_of("engine", ENGINES, default="portable"),
        memory=section.one_of("memory", MEMORY, default="normal"),
        memory_mb=section.integer("memory_mb", default=0, least=0, most=1_000_000_000),
        worker_idle_s=section.number("worker_idle_s", default=300.0, least=0.0, most=86_400.0),
        nice=section.integer("nice", default=10, least=0, most=19),
        max_attempts=section.integer("max_attempts", default=3, least=1, most=100),
        confinement=section.one_of("confinement", CONFINEMENT, default="preferred"),
        io_priority=section.one_of("io_priority", IO_PRIORITIES, default="idle"),
        thrift=Thrift(
            max_threads=section.integer("max_threads", default=0, least=0, most=1024),
            checkpoint_every_s=section.number("checkpoint_every_s", default=60.0, least=0.0, most=86_400.0),
            checkpoint_every_steps=section.integer("checkpoint_every_steps", default=0, least=0, most=1_000_000_000),
            keep_free_bytes=int(keep_free_mb * MB),
        ),
    )


def _spool(section: Section) -> Quota:
    return Quota(
        max_bytes=section.integer("max_bytes", default=DEFAULT_BYTES, least=1, most=10**15),
        max_days=section.number("max_days", default=DEFAULT_DAYS, least=0.01, most=3650.0),
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
    """Name it without a look at it: it may lie on a mount whose server is gone."""
    return Path(os.path.abspath(file.absolute().parent / Path(path).expanduser()))  # noqa: PTH100 (resolve() looks)


def _hostname() -> str:
    name = socket.gethostname()
    try:
        return check_name(name, "device")
    except Malformed:
        return ""


def _address(url: str, scheme: str, port: int, *, insecure: bool) -> Address:
    parts = urlsplit(url)
    if parts.scheme != scheme or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{url!r} is no address such as {scheme}://127.0.0.1:{port}".replace("grpc://", ""))
    if insecure and not _is_loopback(parts.hostname):
        raise BadSetting(
            f"{parts.hostname} is another machine, and control_plane.insecure means no TLS: what the agent tells and "
            "does could be read and changed on the way. Leave `insecure` out, and enrol this box"
        )
    return Address(parts.hostname, parts.port or port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
