"""headwater device …"""

import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from headwater.cli.durations import duration_s
from headwater.cli.options import AsJson, Url, by_flag, connect, labels
from headwater.cli.output import ago, as_json, out, size, table
from headwater.records import Dataset, Device, DeviceDetail

app = typer.Typer(
    no_args_is_help=True,
    help="The fleet, and why a box is not training.",
    epilog="Example: headwater device show box-1",
)


@app.command("list", epilog="Example: headwater device list --label site=north")
def list_(
    label: Annotated[list[str] | None, typer.Option(help="key=value; several: all of them.")] = None,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """List the devices: who is there, who is away, who is shut out, and who was enrolled and never came."""
    with connect(url) as client:
        devices = client.devices.list(labels(label))
    if json:
        as_json(devices)
    elif not devices and label:
        out.print("no device has these labels: headwater device list shows all")
    elif not devices:
        out.print("no devices: invite a box by `headwater device invite`, and start its agent")
    else:
        out.print(table(("DEVICE", "STATE", "LABELS", "DATASETS", "MACHINE", "SEEN"), map(_row, devices)))


@app.command("show", epilog="Example: headwater device show box-1")
def show(
    device: Annotated[str, typer.Argument(help="The device's id, as headwater device list shows it.")],
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a device: what it is, what it does, what it has installed, and why it is not training."""
    with connect(url) as client:
        detail = client.devices.show(device)
    if json:
        as_json(detail)
    else:
        describe(detail)


@app.command("invite", epilog="Example: headwater device invite --label site=north --ttl 2h")
def invite(
    device: Annotated[str, typer.Option(help="The one device it is for, even if there is one of that id.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="key=value, which the box then has for good.")] = None,
    uses: Annotated[int, typer.Option(min=1, help="For how many boxes.")] = 1,
    ttl: Annotated[str, typer.Option(help="How long it is good: 30m, 1h, 7d.")] = "1h",
    host: Annotated[str, typer.Option(help="How the box reaches the control plane, if not as you do.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the invitation alone, for scripts.")] = False,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Invite a box: prints one line to paste there. Whoever has it can enrol a box, so send it as a secret."""
    with connect(url) as client, by_flag(labels="--label", ttl_s="--ttl"):
        reach = host or urlsplit(client.url).hostname or ""
        invited = client.devices.invite(device, labels=labels(label), uses=uses, ttl_s=duration_s(ttl), host=reach)
    if json:
        as_json(invited)
    elif quiet:
        sys.stdout.write(f"{invited.token}\n")
    else:
        boxes = "one box" if uses == 1 else f"{uses} boxes"
        out.print(f"for {device or boxes}, until {invited.expires_at:%Y-%m-%d %H:%M:%S} UTC; on the box:", markup=False)
        sys.stdout.write(f"headwater-agent enroll {invited.token}\n")  # never wrapped: it is to be pasted


@app.command("invites", epilog="Example: headwater device invites")
def invites(json: AsJson = False, url: Url = None) -> None:
    """List the invitations: how often each was used, and whether it is still good. Ended ones stay for a month."""
    with connect(url) as client:
        found = client.devices.invites()
    if json:
        as_json(found)
    elif not found:
        out.print("no invitations: headwater device invite makes one")
    else:
        rows = [
            (one.id, one.device or "any", one.labels, used, one.state, one.expires_at, one.created_by)
            for one, used in ((each, f"{each.used}/{each.uses}") for each in found)
        ]
        out.print(table(("INVITE", "DEVICE", "LABELS", "USED", "STATE", "EXPIRES", "BY"), rows))


@app.command("uninvite", epilog="Example: headwater device uninvite invite-1d3kz8q0v2m4x7qa")
def uninvite(
    invite: Annotated[str, typer.Argument(help="Its id, as headwater device invites shows it.")],
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Withdraw an invitation: it admits nobody any more. Boxes that came in by it stay."""
    with connect(url) as client:
        withdrawn = client.devices.uninvite(invite)
    if json:
        as_json(withdrawn)
    else:
        out.print(f"{invite} is withdrawn", markup=False)


@app.command("disable", epilog="Example: headwater device disable box-1 --reason stolen")
def disable(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "",
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Shut a device out now: its connections end, its tasks and unmerged deltas are dropped."""
    with connect(url) as client:
        standing = client.devices.disable(device, reason)
    if json:
        as_json(standing)
    else:
        out.print(f"{device} is shut out; headwater device enable {device} lets it in again", markup=False)


@app.command("enable", epilog="Example: headwater device enable box-1")
def enable(
    device: Annotated[str, typer.Argument(help="The device's id.")], json: AsJson = False, url: Url = None
) -> None:
    """Let a device in again that was shut out, with the certificate it has."""
    with connect(url) as client:
        standing = client.devices.enable(device)
    if json:
        as_json(standing)
    else:
        out.print(f"{device} may come in again", markup=False)


def describe(detail: DeviceDetail) -> None:
    """Print a device; what it says of itself is no markup."""
    _describe_box(detail)
    if detail.tasks:
        rows = [
            (task.run, task.round, task.phase, f"{task.step}/{task.steps}", task.waiting_for) for task in detail.tasks
        ]
        out.print(table(("RUN", "ROUND", "PHASE", "STEP", "WAITING FOR"), rows))
    for reason in detail.not_training:
        out.print(f"[yellow]not training:[/] {escape(reason)}")
    if detail.deployments:
        shipped = [(item.model, item.version, item.state, item.updated_at, item.problem) for item in detail.deployments]
        out.print(table(("MODEL", "VERSION", "INSTALL", "SINCE", "PROBLEM"), shipped))


def _row(device: Device) -> tuple[object, ...]:
    datasets = ",".join(f"{card.name}({_known(card)})" for card in device.datasets)
    return device.id, device.state, device.labels, datasets, device.inventory.machine, device.last_seen


def _known(card: Dataset) -> str:
    """Say in a word or two what is known of a dataset."""
    if card.pending:
        return "being looked at"
    return "unusable" if card.problem else str(card.examples)


def _describe_machine(device: Device) -> None:
    box = device.inventory
    machine = f"{box.machine}, {box.system}, {box.cpus} CPUs, {size(box.memory_bytes)} of memory"
    out.print(f"{box.hostname}: {machine}", markup=False)
    engines = ", ".join(device.engines) or "none"
    out.print(f"agent {box.agent_version}, Python {box.python_version}, engines: {engines}", markup=False)
    if device.unconfined:
        out.print(f"its kernel can't confine a training fully: it lacks {', '.join(device.unconfined)}", markup=False)


def _describe_box(detail: DeviceDetail) -> None:
    device = detail.device
    seen = ago(device.last_seen) if device.last_seen else "never"
    out.print(f"[bold]{device.id}[/] {device.state}, seen {seen}")
    if device.registered_at is not None:
        _describe_machine(device)
    for state in ("ok", "unknown"):
        if names := [condition.name for condition in device.conditions if condition.state == state]:
            out.print(f"conditions {state}: {', '.join(names)}", markup=False)
    for condition in device.conditions:
        if condition.state == "unmet":
            out.print(f"condition {condition.name}: {condition.why}", markup=False)
    if detail.certificate_ends:
        out.print(f"certificate until {detail.certificate_ends:%Y-%m-%d}", markup=False)
    if detail.disabled_at:
        why = f": {detail.disabled_reason}" if detail.disabled_reason else ""
        out.print(f"shut out {ago(detail.disabled_at)}{why}", markup=False)
    if device.late:
        what = "delta came" if device.late == 1 else "deltas came"
        out.print(f"{device.late} {what} too late, after the round had closed: headwater run show tells which")
    for key, value in device.labels.items():
        out.print(f"label {key}={value}")
    for card in device.datasets:
        schema = ", ".join(f"{column.name}: {column.dtype}{list(column.shape)}" for column in card.columns)
        told = card.problem or f"{card.examples} examples of {schema}"
        out.print(f"dataset {card.name}: {told}", markup=False)
