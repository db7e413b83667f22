"""Writes mosquitto's configuration: settings in, exit code out."""

import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headwater_control.config import BadSetting, address, load, require_own_authority
from headwater_control.datadir import DataDir
from headwater_control.edges.clock import SystemClock
from headwater_control.edges.mosquitto import Folder, Plan
from headwater_control.reach import hosts
from headwater_control.trust import opened

_PLUGIN = "mosquitto_dynamic_security.so"
_LIBRARIES = ("/usr/lib/*-linux-gnu", "/usr/lib", "/usr/lib64", "/usr/local/lib")  # Debian, Alpine, Fedora, by hand


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator says of the mosquitto to be. `plugin`: "" looks where distributions put it."""

    to: Path
    listen: str
    names: tuple[str, ...] = ()
    group: str = ""
    plugin: str = ""


def run(config: Path | None, flags: Mapping[str, object], wanted: Wanted) -> int:
    """Write the files, and say on stdout what to do next; return the exit code."""
    try:
        sys.stdout.write(_written(config, flags, wanted))
    except BadSetting as error:
        sys.stderr.write(f"headwater broker-config: {error}\n")
        return 2
    return 0


def _written(config: Path | None, flags: Mapping[str, object], wanted: Wanted) -> str:
    settings = load(config, os.environ, flags)
    if settings.insecure:
        raise BadSetting("`insecure` means no TLS, and this is for mosquitto with TLS: leave `insecure` out")
    require_own_authority(settings)
    host, port = address(wanted.listen, "--listen")
    clock = SystemClock()
    folder = Folder(wanted.to.expanduser().absolute(), wanted.group)
    plan = Plan(folder.path, host, port, _plugin(wanted.plugin), "" if wanted.group else _ourselves())
    authority = opened(settings, DataDir(settings.data_path, "", ""), clock).authority
    names = hosts((*wanted.names, *settings.public_names), [host])
    leaf = authority.server(names, clock.now())
    try:
        folder.write(
            plan,
            identity=leaf.key + leaf.chain,
            issuer=authority.client_anchors,
            root=authority.root_pem,
            crl=authority.revoked((), clock.now()),
        )
    except LookupError as error:
        raise BadSetting(f"there is no group {wanted.group!r}: --group names the one mosquitto runs as") from error
    except OSError as error:
        raise BadSetting(f"can't write {error.filename or folder.path}: {error.strerror}") from error
    return _next_steps(folder, names, port, leaf.ends)


def _plugin(given: str) -> Path:
    found = [Path(given)] if given else [file for place in _LIBRARIES for file in _files(place)]
    if not found:
        raise BadSetting(f"found no {_PLUGIN}: install mosquitto, or say where it is (or will be) with --plugin")
    return found[0]


def _files(place: str) -> list[Path]:
    return sorted(Path("/").glob(f"{place.lstrip('/')}/{_PLUGIN}"))


def _ourselves() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container a user may have a number only; then mosquitto is not started by root either
        return ""


def _next_steps(folder: Folder, names: tuple[str, ...], port: int, ends: datetime) -> str:
    return f"""\
wrote mosquitto's configuration to {folder.path}
its certificate is for {", ".join(names)}
and ends on {ends:%Y-%m-%d}; `headwater serve` renews it in time, once it has the settings below

1. Let mosquitto use it, by `systemctl edit mosquitto`:
     [Service]
     ExecStart=
     ExecStart=/usr/sbin/mosquitto -c {folder.path}/mosquitto.conf
   then `systemctl restart mosquitto`
2. Let the control plane use mosquitto, by its settings (docs/broker.md says what `systemctl reload` needs):
     broker = "mqtts://{names[0]}:{port}"
     mosquitto_dir = "{folder.path}"
     mosquitto_reload = "systemctl reload mosquitto"
   then restart `headwater serve`
"""
