"""What commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from headwater.transport import OnBytes

_WIDTH_IN_FILES = 200  # a pipe has no width: don't cut columns to 80

out = Console(width=None if sys.stdout.isatty() else _WIDTH_IN_FILES, highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_COLORS = {
    "completed": "green", "succeeded": "green", "committed": "green", "installed": "green", "online": "green",
    "scored": "green",
    "disabled": "red", "expired": "red", "enrolled": "yellow",
    "failed": "red", "rejected": "red", "timed_out": "red", "abandoned": "red", "offline": "red",
    "cancelled": "yellow", "paused": "yellow", "superseded": "yellow", "waiting": "yellow",
}  # fmt: skip


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Lay rows out; numbers to the right."""
    laid = Table(*columns, box=None, pad_edge=False, header_style="bold")
    kept = [tuple(row) for row in rows]
    for column, values in zip(laid.columns, zip(*kept, strict=True), strict=False):
        if any(_is_number(value) for value in values) and all(value is None or _is_number(value) for value in values):
            column.justify = "right"
    for row in kept:
        laid.add_row(*(cell(value) for value in row))
    return laid


def cell(value: object) -> str:
    """Spell one value."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4f}"
        case datetime():
            return ago(value)
        case dict():
            return ",".join(f"{key}={item}" for key, item in value.items())
        case str() if value in _COLORS:
            return f"[{_COLORS[value]}]{value}[/]"
        case str():
            return escape(value)
        case _:
            return str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_json(record: Any) -> None:
    """Print a record, or a list of them."""
    tree = [asdict(item) for item in record] if isinstance(record, tuple) else asdict(record)
    sys.stdout.write(json.dumps(tree, indent=2, default=_spell) + "\n")


def ago(moment: datetime) -> str:
    """Say how long ago something was."""
    seconds = int((datetime.now(UTC) - moment).total_seconds())
    if seconds < 0:
        return moment.astimezone().strftime("%H:%M:%S")
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def size(count: int) -> str:
    """Spell a number of bytes."""
    number = float(count)
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


@contextmanager
def transfer(what: str) -> Iterator[OnBytes]:
    """Show a bar on stderr while bytes move, if somebody sees it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        bar = bars.add_task(what, total=None)

        def moved(done: int, total: int) -> None:
            bars.update(bar, completed=done, total=total)

        yield moved


def _spell(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
