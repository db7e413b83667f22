"""headwater rollout …"""

from typing import Annotated

import typer

from headwater.cli.options import AsJson, Url, connect, labels
from headwater.cli.output import as_json, err, out, table
from headwater.client import Client
from headwater.records import RolloutDetail

app = typer.Typer(no_args_is_help=True, help="Send a version to the boxes.")


@app.command("start", epilog="Example: headwater rollout start --version digits-7 --to site=north --watch")
def start(
    version: Annotated[str, typer.Option(help="Which version.")],
    to: Annotated[list[str] | None, typer.Option(help="Labels key=value of the devices; else all devices.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until every device has answered.")] = False,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Send a version: each box fetches, checks and activates it, and keeps the one before."""
    with connect(url) as client:
        rollout = client.rollouts.start(version, to=labels(to))
        if json:
            as_json(rollout)
        else:
            told = f"{version} is on its way; headwater rollout status {rollout.id}"
            out.print(f"[green]{rollout.id}[/]: {told}", soft_wrap=True)
        if watch:
            _watch(client, rollout.id)


@app.command("status", epilog="Example: headwater rollout status ROLLOUT")
def status(
    rollout: str,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until every device has answered.")] = False,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Show how far a rollout is, device by device."""
    with connect(url) as client:
        if watch:
            _watch(client, rollout)
        detail = client.rollouts.show(rollout)
    if json:
        as_json(detail)
    else:
        _describe(detail)


@app.command("list", epilog="Example: headwater rollout list --model digits")
def list_(
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None, json: AsJson = False, url: Url = None
) -> None:
    """List rollouts, oldest first."""
    with connect(url) as client:
        rollouts = client.rollouts.list(model)
    if json:
        as_json(rollouts)
    else:
        rows = [
            (found.id, found.version, found.labels or "every device", found.state, found.created_at)
            for found in rollouts
        ]
        out.print(table(("ROLLOUT", "VERSION", "TO", "STATE", "STARTED"), rows))


@app.command("cancel", epilog="Example: headwater rollout cancel ROLLOUT")
def cancel(rollout: str, url: Url = None) -> None:
    """Stop what has not been installed yet."""
    with connect(url) as client:
        out.print(f"{rollout} is {client.rollouts.cancel(rollout).state}")


def _describe(detail: RolloutDetail) -> None:
    out.print(f"[bold]{detail.rollout.id}[/] {detail.rollout.version}: {detail.rollout.state}; {_counts(detail)}")
    rows = [(item.device, item.version, item.state, item.updated_at, item.problem) for item in detail.deployments]
    out.print(table(("DEVICE", "VERSION", "INSTALL", "SINCE", "PROBLEM"), rows))


def _counts(detail: RolloutDetail) -> str:
    states = [item.state for item in detail.deployments]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no devices"


def _watch(client: Client, rollout: str) -> None:
    try:
        for detail in client.rollouts.watch(rollout):
            err.print(f"{rollout} {detail.rollout.state}: {_counts(detail)}")
    except KeyboardInterrupt:
        err.print(f"\n{rollout} goes on: headwater rollout status {rollout} tells how far it is")
        raise typer.Exit(130) from None
    if any(item.state == "failed" for item in detail.deployments):
        _describe(detail)
        raise typer.Exit(1)
