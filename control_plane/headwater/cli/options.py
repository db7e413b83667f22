"""Options that commands share, and the client they lead to."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from headwater import credentials
from headwater.client import DEFAULT_URL, Client
from headwater.errors import HeadwaterError, Invalid, Unreachable

ENDPOINTS = Path("headwater-data") / "endpoints.json"  # where `headwater serve` says its addresses by default

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="HEADWATER_URL",
        help=f"The control plane; else ./{ENDPOINTS}, your last login, or {DEFAULT_URL}.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class Stale(HeadwaterError):
    """Nobody answers at the address that a file in this folder tells."""

    def __init__(self, error: Unreachable) -> None:
        super().__init__(f"{error} (./{ENDPOINTS} tells that address: --url or HEADWATER_URL chooses another)")


@contextmanager
def connect(url: str | None) -> Iterator[Client]:
    """Give a client for the address given, else for the control plane started in this folder, else of the last login.

    Without any of these it is the default address. An address that a folder tells gets only what a login kept for it.
    """
    found = None if url else _started_here()
    # A folder may be anybody's, and name any address: what the environment holds is not sent there.
    token = credentials.load().login(found).token if found else None
    with Client(url or found, token=token) as client:
        try:
            yield client
        except Unreachable as error:
            if found is None:
                raise
            raise Stale(error) from error


@contextmanager
def by_flag(**flags: str) -> Iterator[None]:
    """Name a field that the control plane refuses as the command line does: its flag of `flags`, else --its-name."""
    try:
        yield
    except Invalid as error:
        if not error.fields:
            raise
        named = [(name.partition(".")[0], why) for name, why in error.fields]
        told = [f"{flags.get(name) or '--' + name.replace('_', '-')}: {why}" for name, why in named]
        raise typer.BadParameter("; ".join(told)) from error


def labels(texts: list[str] | None) -> dict[str, str]:
    """Read `key=value`, several by comma or by repeating the option."""
    pairs = [pair for text in texts or () for pair in text.split(",")]
    found = {}
    for pair in pairs:
        key, equals, value = pair.strip().partition("=")
        if not (key and equals and value):
            raise typer.BadParameter(f"{pair!r} is no label: write key=value, such as site=north")
        found[key] = value
    return found


def _started_here() -> str | None:
    """Read the address of the control plane that this folder's file tells; none if its process is gone."""
    try:
        told = json.loads(ENDPOINTS.read_text(encoding="utf-8"))
        return str(told["http"]) if _lives(int(told["pid"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and another user's
        return True
    return True
