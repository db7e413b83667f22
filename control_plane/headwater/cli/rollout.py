"""headwater rollout …"""

from typing import Annotated

import typer

from headwater.cli.options import AsJson, Url, by_flag, connect, labels
from headwater.cli.output import as_json, err, out, table
from headwater.client import Client
from headwater.records import Deployment, Device, RolloutDetail

app = typer.Typer(
    no_args_is_help=True,
    help="Send a version to the boxes.",
    epilog="Example: headwater rollout start --version digits-7 --watch",
)
_Rollout = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Its id, as headwater rollout list shows it.")]


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
        with by_flag(labels="--to"):
            rollout = client.rollouts.start(version, to=labels(to))
        if json:
            as_json(rollout)
        else:
            told = f"{version} is on its way; headwater rollout status {rollout.id}"
            out.print(f"[green]{rollout.id}[/]: {told}", soft_wrap=True)
        if watch and not _ended_well(_follow(client, rollout.id)):
            _describe(client, client.rollouts.show(rollout.id))
            raise typer.Exit(1)


@app.command("status", epilog="Example: headwater rollout status ROLLOUT")
def status(
    rollout: _Rollout,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait until every device has answered; exit with 1 if one failed.")
    ] = False,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Show how far a rollout is, device by device."""
    with connect(url) as client:
        if watch:
            _follow(client, rollout)
        detail = client.rollouts.show(rollout)
        if json:
            as_json(detail)
        else:
            _describe(client, detail)
    if watch and not _ended_well(detail):
        raise typer.Exit(1)


@app.command("list", epilog="Example: headwater rollout list --model digits")
def list_(
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None, json: AsJson = False, url: Url = None
) -> None:
    """List rollouts, oldest first."""
    with connect(url) as client:
        rollouts = client.rollouts.list(model)
    if json:
        as_json(rollouts)
    elif not rollouts:
        out.print("no rollouts yet: headwater rollout start --version VERSION")
    else:
        rows = [
            (found.id, found.version, found.labels or "every device", found.state, found.created_at)
            for found in rollouts
        ]
        out.print(table(("ROLLOUT", "VERSION", "TO", "STATE", "STARTED"), rows))


@app.command("cancel", epilog="Example: headwater rollout cancel ROLLOUT")
def cancel(rollout: _Rollout, url: Url = None) -> None:
    """Stop what has not been installed yet."""
    with connect(url) as client:
        out.print(f"{rollout} is {client.rollouts.cancel(rollout).state}")


def _describe(client: Client, detail: RolloutDetail) -> None:
    out.print(f"[bold]{detail.rollout.id}[/] {detail.rollout.version}: {detail.rollout.state}; {_counts(detail)}")
    waiting = any(item.state == "pending" for item in detail.deployments)
    devices = {device.id: device for device in client.devices.list()} if waiting else {}
    rows = [
        (item.device, item.version, item.state, item.updated_at, _problem(item, devices.get(item.device)))
        for item in detail.deployments
    ]
    out.print(table(("DEVICE", "VERSION", "INSTALL", "SINCE", "PROBLEM"), rows))


def _problem(item: Deployment, device: Device | None) -> str:
    """Say what stands in the way of an install: what the device told, or that it is away."""
    if item.state != "pending" or device is None or device.online:
        return item.problem
    return f"offline since {device.presence_at:%Y-%m-%d %H:%M:%S} UTC" if device.presence_at else "offline"


def _counts(detail: RolloutDetail) -> str:
    states = [item.state for item in detail.deployments]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no devices"


def _follow(client: Client, rollout: str) -> RolloutDetail:
    """Tell how a rollout goes on until it has ended; give it as it is then."""
    try:
        for detail in client.rollouts.watch(rollout):
            err.print(f"{rollout} {detail.rollout.state}: {_counts(detail)}")
    except KeyboardInterrupt:
        err.print(f"\n{rollout} goes on: headwater rollout status {rollout} tells how far it is")
        raise typer.Exit(130) from None
    return detail


def _ended_well(detail: RolloutDetail) -> bool:
    return detail.rollout.state != "cancelled" and all(item.state != "failed" for item in detail.deployments)
