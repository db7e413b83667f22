"""headwater login, headwater logout, headwater whoami"""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from headwater import credentials
from headwater.authority import fetched
from headwater.cli.options import AsJson, Url, connect
from headwater.cli.output import as_json, out
from headwater.client import certificate
from headwater.credentials import Login, is_private, plain
from headwater.errors import Invalid
from headwater.rights import WhoAmI
from headwater.transport import Transport

_TOKEN_CHARS = 10_000
_TIMEOUT_S = 30.0


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="The control plane, such as https://control.example:8080.")],
    ca_fingerprint: Annotated[
        str | None, typer.Option(help="sha256:… of its certificate authority, as its first start told it.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="A PEM file with its certificate authority, instead.")] = None,
) -> None:
    """Keep a token for a control plane: it is asked for, or read from HEADWATER_TOKEN or standard input."""
    if ca and ca_fingerprint:
        raise typer.BadParameter("--ca-fingerprint and --ca: give one of them")
    if "://" not in url:
        raise typer.BadParameter(f"{url} does not say how to reach it: write https://{url}")
    if not is_private(url):
        raise typer.BadParameter(f"{url} is no https address, nor on this machine: others could read the token")
    known = credentials.load()
    pem = _authority(url, ca_fingerprint, ca) or known.login(url).ca_pem
    token = _asked()
    transport = Transport(url, _TIMEOUT_S, token, pem)
    try:
        who = transport.get(WhoAmI, "/v1/whoami")
    finally:
        transport.close()
    path = credentials.save(known.with_login(url, Login(token, pem)))
    out.print(f"logged in to {plain(url)} as {_told(who)}; kept in {path}", markup=False)


def logout(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="Which one; else that of the last login.")] = None,
) -> None:
    """Forget the token for a control plane. It stays valid until an admin revokes it."""
    known = credentials.load()
    url = url or known.current
    if not url or plain(url) not in known.logins:
        raise Invalid(f"you are not logged in{f' to {url}' if url else ''}: there is nothing to forget")
    credentials.save(known.without(url))
    out.print(f"logged out of {plain(url)}. The token stays valid: headwater token revoke ID ends that", markup=False)


def whoami(json: AsJson = False, url: Url = None) -> None:
    """Say whom the control plane takes you for, what you may do, and until when the token is valid."""
    with connect(url) as client:
        who = client.whoami()
    if json:
        as_json(who)
        return
    until = f", until {who.until:%Y-%m-%d %H:%M} UTC" if who.until else ""
    out.print(f"{_told(who)} at {client.url}{until}", markup=False)


def _authority(url: str, fingerprint: str | None, file: Path | None) -> str:
    """Give the certificate that the options, or HEADWATER_CA, lead to; nothing, if there are none."""
    if fingerprint:
        return fetched(url, fingerprint)
    chosen = file or os.environ.get("HEADWATER_CA")
    return certificate(chosen) if chosen else ""


def _asked() -> str:
    """Read the token, without showing it."""
    if given := os.environ.get("HEADWATER_TOKEN"):
        return given.strip()
    token = getpass("Token (it is not shown): ") if sys.stdin.isatty() else sys.stdin.readline(_TOKEN_CHARS)
    if not token.strip():
        raise Invalid("no token was given: paste the one that `headwater token create` or the first start printed")
    return token.strip()


def _told(who: WhoAmI) -> str:
    limits = ", ".join(f"{key}={value}" for key, value in who.labels.items())
    return f"{who.name} ({who.role or 'no role'}{f', limited to {limits}' if limits else ''})"
