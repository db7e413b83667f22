"""Where logins are kept: for each control plane its token and the certificate of its CA, and which one is meant."""

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from headwater_wire import durable

from headwater.errors import Invalid


@dataclass(frozen=True, slots=True)
class Login:
    """What proves who we are to a control plane, and what it is recognised by: the root certificate (PEM)."""

    token: str = field(default="", repr=False)
    ca_pem: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """All logins, by URL. `current` is the control plane that was logged in to last; "": none."""

    current: str = ""
    logins: Mapping[str, Login] = field(default_factory=dict)

    def login(self, url: str) -> Login:
        """Give the login at a control plane; an empty one, if there is none."""
        return self.logins.get(plain(url), Login())

    def with_login(self, url: str, login: Login) -> "Credentials":
        """Add one, or replace it, and make it the one that is meant."""
        return Credentials(plain(url), {**self.logins, plain(url): login})

    def without(self, url: str) -> "Credentials":
        """Forget one."""
        kept = {known: login for known, login in self.logins.items() if known != plain(url)}
        return replace(self, logins=kept, current=self.current if self.current in kept else "")


def plain(url: str) -> str:
    """Spell a URL in the one way that logins are found by."""
    parts = urlsplit(url.strip())
    return f"{parts.scheme}://{parts.netloc}{parts.path}".lower().rstrip("/")


def is_private(url: str) -> bool:
    """Say whether nobody can listen to what is sent there: TLS, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def place() -> Path:
    """Say where the file is: in $XDG_CONFIG_HOME, else in ~/.config (XDG Base Directory Specification)."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return folder / "headwater" / "credentials.json"


def load() -> Credentials:
    """Read the file, if there is one; raise `Invalid` if it can't be read."""
    path = place()
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        logins = {str(url): Login(str(one["token"]), str(one["ca"])) for url, one in tree["servers"].items()}
        return Credentials(str(tree["current"]), logins)
    except (FileNotFoundError, NotADirectoryError):
        return Credentials()
    except OSError as error:
        raise Invalid(f"can't read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"{path} is damaged: delete it, and log in again with `headwater login URL`") from error


def save(credentials: Credentials) -> Path:
    """Write the file, durably and for this user alone; return its path."""
    path = place()
    servers = {url: {"token": login.token, "ca": login.ca_pem} for url, login in credentials.logins.items()}
    text = json.dumps({"current": credentials.current, "servers": servers}, indent=2) + "\n"
    try:
        durable.make_dirs(path.parent, private=True)
        path.parent.chmod(0o700)  # it may have been there
        durable.write(path, text.encode(), private=True)
    except OSError as error:
        raise Invalid(f"can't write {path}: {error.strerror}") from error
    return path
