"""Options that commands share, and the client they lead to."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from headwater.client import DEFAULT_URL, Client

ENDPOINTS = Path("headwater-data") / "endpoints.json"  # where `headwater serve` says its addresses by default

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="HEADWATER_URL", help=f"The control plane; else ./{ENDPOINTS} or {DEFAULT_URL}."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def connect(url: str | None) -> Client:
    """Make a client for the address given, else for the control plane started in this folder, else the default one."""
    return Client(url or _started_here())


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
    if os.environ.get("HEADWATER_URL"):
        return None
    try:
        return str(json.loads(ENDPOINTS.read_text(encoding="utf-8"))["http"])
    except (OSError, ValueError, KeyError):
        return None
