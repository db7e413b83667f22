"""Spans of time as people write them: 30m, 1h, 90d."""

import re

import typer

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def duration_s(text: str) -> float:
    """Read a span of time, in seconds; raise `BadParameter`."""
    match = re.fullmatch(r"(\d{1,6})(s|m|min|h|d)", text.strip())
    if not match or not int(match[1]):
        raise typer.BadParameter(f"{text!r} is no span of time: write 30m, 1h or 90d")
    return int(match[1]) * _SECONDS[match[2]]
