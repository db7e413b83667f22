"""Under which names the control plane is reached: for its certificate, for Host headers, for invitations."""

import ipaddress
import socket
from collections.abc import Iterable

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def hosts(names: Iterable[str], bound: Iterable[str]) -> tuple[str, ...]:
    """List the names a server certificate holds: those configured, this machine's, the bound addresses, loopback."""
    wild = {"0.0.0.0", "::"}  # noqa: S104 (what an operator may bind, not what we do)
    found = [*names, *(host for host in bound if host not in wild), socket.gethostname(), *LOOPBACK]
    return tuple(dict.fromkeys(name for name in found if name))


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def nearby(host: str) -> str:
    """Give the address by which this machine itself reaches what is bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (as above)
