"""The control plane's settings: from a TOML file, HEADWATER_* variables and flags, the later over the earlier."""

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ENV_PREFIX = "HEADWATER_"
LOG_LEVELS = ("debug", "info", "warning", "error")


class BadSetting(Exception):
    """A setting that the control plane can't start with: the message says which, where it stands and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may choose. Addresses are `host:port`; port 0 takes a free one and reports it."""

    data_dir: str = "headwater-data"
    http: str = "127.0.0.1:8080"
    grpc: str = "127.0.0.1:8090"
    mqtt: str = "127.0.0.1:1883"  # of the embedded broker
    broker: str = "embedded"  # or mqtt://[user:password@]host:port
    database: str = ""  # "": SQLite in data_dir; or postgresql://user:password@host/name
    uploads: int = 16  # deltas received at the same time; more are asked to come back
    heartbeat_idle_s: int = 60  # how often a device shows a sign of life
    heartbeat_busy_s: int = 10  # and one with an open task
    presence_grace_s: int = 30  # a round waits so long for a device that went offline
    model_size_limit_mb: int = 2048  # of an uploaded ONNX or parameter file
    log_level: str = "info"

    @property
    def data_path(self) -> Path:
        """The folder for the database, blobs and endpoints.json, absolute."""
        return Path(self.data_dir).expanduser().absolute()

    @property
    def database_url(self) -> str:
        """The database, by URL."""
        return self.database or f"sqlite:///{self.data_path / 'headwater.db'}"


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a value came from, for messages."""

    value: object
    place: str


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Build the settings; raise `BadSetting` on an unknown key, a bad value or an address beyond this machine."""
    known = {field.name: field for field in fields(Settings)}
    origins: dict[str, _Origin] = {}
    if file is not None:
        origins |= _read(file, known)
    for name in known:
        variable = ENV_PREFIX + name.upper()
        if variable in environment:
            origins[name] = _Origin(environment[variable], f"the environment variable {variable}")
    origins |= {
        name: _Origin(value, f"--{name.replace('_', '-')}") for name, value in flags.items() if value is not None
    }
    values = {name: _typed(name, origin, type(known[name].default)) for name, origin in origins.items()}
    settings = Settings(**values)  # type: ignore[arg-type]  # each checked against its own field's type
    for name in ("http", "grpc", "mqtt"):
        place = origins[name].place if name in origins else "the default"
        require_loopback(address(getattr(settings, name), f"{name} ({place})")[0], f"{name} ({place})")
    if settings.log_level not in LOG_LEVELS:
        raise BadSetting(f"log_level is {settings.log_level!r}: choose one of {', '.join(LOG_LEVELS)}")
    _check_broker(settings.broker)
    _check_database(settings.database)
    return settings


def address(text: str, what: str) -> tuple[str, int]:
    """Split `host:port`; raise `BadSetting`."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^\[\]:\s]+)):(\d{1,5})", text)
    if not match or int(match[3]) > 65535:
        raise BadSetting(f"{what} is {text!r}, which is no address: write host:port, such as 127.0.0.1:8080")
    return match[1] or match[2], int(match[3])


def require_loopback(host: str, what: str) -> None:
    """Raise `BadSetting` unless only this machine can reach `host`."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise BadSetting(
            f"{what} is on {host}, which other machines can reach, and there is no TLS yet: everybody on the network "
            "could read and change everything. Use 127.0.0.1, ::1 or localhost, and an SSH tunnel to reach it from afar"
        )


def broker_address(broker: str) -> tuple[str, int, str | None, str | None]:
    """Split mqtt://[user:password@]host:port; raise `BadSetting`, whose words leave user and password out."""
    parts = urlsplit(broker)
    told = repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else broker.rpartition("@")[2])
    try:
        port = parts.port or 1883
    except ValueError as error:
        raise BadSetting(f"broker is {told}: {error}") from None  # what it comes from may quote the password
    if parts.scheme != "mqtt" or not parts.hostname or parts.path.strip("/"):
        raise BadSetting(f'broker is {told}: write "embedded", or mqtt://host:port for one of your own')
    return parts.hostname, port, parts.username, parts.password


def _check_broker(broker: str) -> None:
    if broker != "embedded":
        require_loopback(broker_address(broker)[0], "broker")


def _check_database(url: str) -> None:
    if not url:
        return
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        return
    if scheme not in {"postgresql", "postgres"}:
        raise BadSetting(f"database begins with {parts.scheme!r}: write sqlite:///FILE or postgresql://user@host/name")
    query = parse_qs(parts.query)
    verified = query.get("ssl", query.get("sslmode", [""]))[0] == "verify-full"
    hosts = [parts.hostname or "", *(host for value in query.get("host", []) for host in value.split(","))]
    for host in hosts:
        if host and not host.startswith("/") and not verified:  # "" or a path: a Unix socket
            require_loopback(
                host.rpartition(":")[0] if host.count(":") == 1 else host, "database (without ssl=verify-full)"
            )


def _read(file: Path, known: Mapping[str, object]) -> dict[str, _Origin]:
    try:
        text = file.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except OSError as error:
        raise BadSetting(f"can't read the configuration {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file} is no TOML: {error}") from error
    origins = {}
    for key, value in tree.items():
        place = f"{file}, line {_line(text, key)}"
        if key not in known:
            raise BadSetting(f"{place}: unknown key {key!r}; known are {', '.join(sorted(known))}")
        origins[key] = _Origin(value, place)
    return origins


def _line(text: str, key: str) -> int:
    pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _typed(name: str, origin: _Origin, kind: type) -> str | int:
    value = origin.value
    if kind is int and isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    if isinstance(value, kind) and not isinstance(value, bool) and isinstance(value, (str, int)):
        if isinstance(value, int) and value < 1:
            raise BadSetting(f"{origin.place}: {name} is {value}, and must be at least 1")
        return value
    wanted = "a whole number" if kind is int else "a text"
    raise BadSetting(f"{origin.place}: {name} is {value!r}, and must be {wanted}")
