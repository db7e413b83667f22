"""headwater token …"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from headwater.cli.durations import duration_s
from headwater.cli.options import AsJson, Url, by_flag, connect, labels
from headwater.cli.output import as_json, err, out, table
from headwater.rights import ApiToken

app = typer.Typer(
    no_args_is_help=True,
    help="Who may do what: API tokens for people and programs.",
    epilog="Example: headwater token create ci --role operator --ttl 90d",
)
_TTL = "90d"


@app.command("create", epilog="Example: headwater token create ci --role operator --label site=north --ttl 90d")
def create(
    name: Annotated[str, typer.Argument(help="Whose it is; the audit log says token:NAME, so it is given once.")],
    role: Annotated[str, typer.Option(help="viewer, operator, approver or admin; each includes those before.")] = (
        "viewer"
    ),
    label: Annotated[
        list[str] | None, typer.Option(help="key=value; several: only devices, runs and rollouts with all of them.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 30m, 12h, 90d; or never.")] = _TTL,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Make a token and print it, this once."""
    lasting = _seconds(ttl)
    with connect(url) as client, by_flag(labels="--label", ttl_s="--ttl"):
        made = client.tokens.create(name, role=role, labels=labels(label), ttl_s=lasting)
    if json:
        as_json(made)
        return
    out.print(made.text, markup=False, soft_wrap=True)
    until = f"until {made.token.expires_at:%Y-%m-%d %H:%M} UTC" if made.token.expires_at else "for ever"
    told = f"{made.token.id} is valid {until}. It can't be shown again: use it with `headwater login {client.url}`"
    err.print(told, markup=False)


@app.command("list", epilog="Example: headwater token list")
def list_(json: AsJson = False, url: Url = None) -> None:
    """List the tokens, expired and revoked ones too."""
    with connect(url) as client:
        found = client.tokens.list()
    if json:
        as_json(found)
    elif not found:
        out.print("no tokens: headwater token create NAME --role operator makes one")
    else:
        out.print(table(("TOKEN", "NAME", "ROLE", "LABELS", "MADE BY", "STATE", "USED"), map(_row, found)))


@app.command("revoke", epilog="Example: headwater token revoke token-1d3kz8q0v2m4x7qa")
def revoke(
    token: Annotated[str, typer.Argument(help="Its id, as headwater token list shows it.")],
    json: AsJson = False,
    url: Url = None,
) -> None:
    """End a token's life now."""
    with connect(url) as client:
        revoked = client.tokens.revoke(token)
    if json:
        as_json(revoked)
    else:
        out.print(f"{revoked.id} ({revoked.name}) is revoked", markup=False)


def _row(token: ApiToken) -> tuple[object, ...]:
    return token.id, token.name, token.role, token.labels, token.created_by, _state(token), token.last_used_at


def _state(token: ApiToken) -> str:
    if token.revoked_at:
        return "revoked"
    if token.expires_at is None:
        return "valid for ever"
    over = token.expires_at <= datetime.now(UTC)
    return "expired" if over else f"valid until {token.expires_at:%Y-%m-%d}"


def _seconds(text: str) -> float | None:
    return None if text == "never" else duration_s(text)
