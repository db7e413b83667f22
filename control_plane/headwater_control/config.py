"""The control plane's settings: from a TOML file, HEADWATER_* variables and flags, the later over the earlier."""

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from headwater_control.reach import is_loopback

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
    enrol: str = "127.0.0.1:8091"  # where boxes without a certificate get one
    mqtt: str = "127.0.0.1:8883"  # of the embedded broker
    broker: str = "embedded"  # or mqtts://host:port; with `insecure` mqtt://[user:password@]host:port
    mosquitto_dir: str = ""  # what `headwater broker-config` wrote, if mosquitto is the broker
    mosquitto_reload: str = ""  # the command, with its arguments, by which mosquitto reads it again
    names: str = ""  # under which the control plane is reached, by comma: they stand in its certificate
    insecure: bool = False  # no TLS, no tokens, no signatures asked for: on loopback only
    ca_chain: str = ""  # a CA of your own: a file with the issuing certificate, those above it, and the root; "": ours
    ca_key: str = ""  # and its key; or a step-ca's, which keeps that to itself:
    ca_url: str = ""  # https://host:port, where step-ca answers
    ca_provisioner: str = ""  # the name of a provisioner of its, of the kind JWK
    ca_provisioner_key: str = ""  # a file with that one's private key
    oidc_issuer: str = ""  # an identity provider whose tokens are taken beside our own; "": none
    oidc_audience: str = ""
    oidc_role_claim: str = "roles"
    oidc_roles: str = ""  # which value of that claim gives which role: fleet-admins=admin; fleet-users=viewer
    oidc_labels_claim: str = ""
    oidc_jwks_url: str = ""  # "": as its discovery document says
    oidc_algorithms: str = "RS256,ES256,EdDSA,Ed25519"
    oidc_ca: str = ""  # a file, PEM; "": the authorities that this machine trusts
    admin_token_file: str = ""  # where the first admin token is put; "": it is printed, once
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
    def public_names(self) -> tuple[str, ...]:
        """The configured names, one by one."""
        return tuple(name.strip() for name in self.names.split(",") if name.strip())

    @property
    def reload_command(self) -> tuple[str, ...]:
        """`mosquitto_reload`, word by word as a shell would split it; raise `BadSetting`."""
        try:
            return tuple(shlex.split(self.mosquitto_reload))
        except ValueError as error:
            raise BadSetting(f"mosquitto_reload is {self.mosquitto_reload!r}, which is no command: {error}") from error

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
    if url := _credential(environment, "headwater.database"):
        origins["database"] = _Origin(url, "the credential headwater.database")
    origins |= {
        name: _Origin(value, f"--{name.replace('_', '-')}") for name, value in flags.items() if value is not None
    }
    values = {name: _typed(name, origin, type(known[name].default)) for name, origin in origins.items()}
    settings = Settings(**values)  # type: ignore[arg-type]  # each checked against its own field's type
    for name in ("http", "grpc", "enrol", "mqtt"):
        place = origins[name].place if name in origins else "the default"
        host, _ = address(getattr(settings, name), f"{name} ({place})")
        if settings.insecure:
            require_loopback(host, f"{name} ({place})")
    if settings.log_level not in LOG_LEVELS:
        raise BadSetting(f"log_level is {settings.log_level!r}: choose one of {', '.join(LOG_LEVELS)}")
    _check_broker(settings.broker, insecure=settings.insecure)
    _check_mosquitto(settings)
    _check_authority(settings)
    if settings.oidc_issuer and not (settings.oidc_audience and settings.oidc_roles):
        raise BadSetting("oidc_issuer needs oidc_audience, and oidc_roles: VALUE=ROLE, several by semicolon")
    _check_database(settings.database)
    return settings


def _credential(environment: Mapping[str, str], name: str) -> str:
    """Read what systemd hands over without others seeing it (systemd.exec(5), LoadCredential); nothing, if it doesn't.

    A unit can't leave a credential out, so it gives "none" where the operator has none.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    place = Path(folder) / name
    text = place.read_text(encoding="utf-8").strip() if folder and place.is_file() else ""
    return "" if text == "none" else text


def address(text: str, what: str) -> tuple[str, int]:
    """Split `host:port`; raise `BadSetting`."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^\[\]:\s]+)):(\d{1,5})", text)
    if not match or int(match[3]) > 65535:
        raise BadSetting(f"{what} is {text!r}, which is no address: write host:port, such as 127.0.0.1:8080")
    return match[1] or match[2], int(match[3])


def require_loopback(host: str, what: str) -> None:
    """Raise `BadSetting` unless only this machine can reach `host`."""
    if not is_loopback(host):
        raise BadSetting(
            f"{what} is on {host}, which other machines can reach, and `insecure` means no TLS: everybody on the "
            "network could read and change everything. Leave `insecure` out, or use 127.0.0.1, ::1 or localhost"
        )


def broker_address(broker: str) -> tuple[str, int, str | None, str | None]:
    """Split mqtt[s]://[user:password@]host:port; raise `BadSetting`, whose words leave user and password out."""
    parts = urlsplit(broker)
    told = repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else broker.rpartition("@")[2])
    try:
        port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
    except ValueError as error:
        raise BadSetting(f"broker is {told}: {error}") from None  # what it comes from may quote the password
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or parts.path.strip("/"):
        raise BadSetting(f'broker is {told}: write "embedded", or mqtts://host:port for one of your own')
    return parts.hostname, port, parts.username, parts.password


def _check_broker(broker: str, *, insecure: bool) -> None:
    if broker == "embedded":
        return
    host, *_ = broker_address(broker)
    secure = broker.startswith("mqtts://")
    if insecure:
        require_loopback(host, "broker")
    if insecure == secure:
        wanted, why = ("mqtt://", "`insecure` means no TLS") if insecure else ("mqtts://", "without TLS is `insecure`")
        raise BadSetting(f"broker is not at a {wanted} address: {why}")


def _check_authority(settings: Settings) -> None:
    asked = (settings.ca_url, settings.ca_provisioner, settings.ca_provisioner_key)
    if any(asked) and not (all(asked) and settings.ca_chain):
        raise BadSetting("a step-ca needs ca_url, ca_provisioner, ca_provisioner_key and ca_chain, all four")
    if any(asked) and settings.ca_key:
        raise BadSetting("ca_key and ca_url are two ways: the issuing key is in a file, or step-ca has it")
    if bool(settings.ca_chain) != bool(settings.ca_key or settings.ca_url):
        raise BadSetting("ca_chain and ca_key belong together: a CA of your own needs both (or ca_url, for a step-ca)")


def _check_mosquitto(settings: Settings) -> None:
    if bool(settings.mosquitto_dir) != bool(settings.reload_command):
        raise BadSetting("mosquitto_dir and mosquitto_reload belong together: a list that is not read shuts nobody out")
    if settings.mosquitto_dir:
        require_own_authority(settings)
    if settings.mosquitto_dir and not settings.broker.startswith("mqtts://"):
        raise BadSetting("mosquitto_dir is for a mosquitto with TLS: set broker to its mqtts:// address")


def require_own_authority(settings: Settings) -> None:
    """Raise `BadSetting` if others may sign what mosquitto would let in."""
    if settings.ca_chain:
        raise BadSetting(
            "mosquitto takes everybody whom ca_chain's issuer has signed, by name alone: with mosquitto leave ca_chain "
            "and what belongs to it out, so that the issuer is Headwater's own"
        )


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


def _truth(name: str, origin: _Origin) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    value = known.get(origin.value.lower()) if isinstance(origin.value, str) else origin.value
    if not isinstance(value, bool):
        raise BadSetting(f"{origin.place}: {name} is {origin.value!r}, and must be true or false")
    return value


def _typed(name: str, origin: _Origin, kind: type) -> str | int:
    value = origin.value
    if kind is bool:
        return _truth(name, origin)
    if kind is int and isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    if isinstance(value, kind) and not isinstance(value, bool) and isinstance(value, (str, int)):
        if isinstance(value, int) and value < 1:
            raise BadSetting(f"{origin.place}: {name} is {value}, and must be at least 1")
        return value
    wanted = "a whole number" if kind is int else "a text"
    raise BadSetting(f"{origin.place}: {name} is {value!r}, and must be {wanted}")
