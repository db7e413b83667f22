"""headwater audit …"""

from typing import Annotated, Any

import typer
from rich.markup import escape

from headwater.cli.options import AsJson, Url, connect
from headwater.cli.output import as_json, err, out, table
from headwater.records import AuditEntry

app = typer.Typer(
    no_args_is_help=True,
    help="Who changed what, and whether that record is whole.",
    epilog="Example: headwater audit list --last 50",
)
_SHORT = 100  # characters of a value: a run's whole specification belongs to --json


@app.command("list", epilog="Example: headwater audit list --last 50")
def list_(
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 20,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """List the newest changes, the last one at the end."""
    with connect(url) as client:
        entries = client.audit.list(limit=last)
    if json:
        as_json(entries)
    else:
        out.print(table(("NUMBER", "AT", "WHO", "FROM", "ACTION", "ON", "CHANGED"), map(_row, entries)))


@app.command("verify", epilog="Example: headwater audit verify")
def verify(json: AsJson = False, url: Url = None) -> None:
    """Check that no entry was changed, taken out or put in; exit with 1 if one was."""
    with connect(url) as client:
        verdict = client.audit.verify()
    if json:
        as_json(verdict)
    elif not verdict.problem:
        count = f"{verdict.entries} {'entry' if verdict.entries == 1 else 'entries'}"
        out.print(f"[green]whole[/]: {count}; the last one's digest is {verdict.head or 'none'}")
    if verdict.problem:
        err.print(f"[red]the audit log is broken: {escape(verdict.problem)}[/]")
        raise typer.Exit(1)


def _row(entry: AuditEntry) -> tuple[object, ...]:
    at = f"{entry.at:%Y-%m-%d %H:%M:%S}"
    return entry.number, at, entry.who, entry.source, entry.action, entry.subject, _changed(entry)


def _changed(entry: AuditEntry) -> str:
    """Spell what a change changed; of a new thing it is enough that it is there."""
    if not entry.before:
        return "new"
    return ", ".join(f"{name}: {_short(entry.before.get(name))} → {_short(now)}" for name, now in entry.after.items())


def _short(value: Any) -> str:
    text = "–" if value in (None, "") else str(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
