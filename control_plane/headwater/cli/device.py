"""headwater device …"""

from typing import Annotated

import typer
from rich.markup import escape

from headwater.cli.options import AsJson, Url, connect, labels
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
    """List the devices."""
    with connect(url) as client:
        devices = client.devices.list(labels(label))
    if json:
        as_json(devices)
    elif not devices and label:
        out.print("no device has these labels: headwater device list shows all")
    elif not devices:
        out.print("no devices: start an agent with `headwater-agent run --config FILE`")
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
    state = "online" if device.online else "offline"
    return device.id, state, device.labels, datasets, device.inventory.machine, device.last_seen


def _known(card: Dataset) -> str:
    """Say in a word or two what is known of a dataset."""
    if card.pending:
        return "being looked at"
    return "unusable" if card.problem else str(card.examples)


def _describe_box(detail: DeviceDetail) -> None:
    device, box = detail.device, detail.device.inventory
    seen = ago(device.last_seen) if device.last_seen else "never"
    out.print(f"[bold]{device.id}[/] {'online' if device.online else 'offline'}, seen {seen}")
    machine = f"{box.machine}, {box.system}, {box.cpus} CPUs, {size(box.memory_bytes)} of memory"
    out.print(f"{box.hostname}: {machine}", markup=False)
    engines = ", ".join(device.engines) or "none"
    out.print(f"agent {box.agent_version}, Python {box.python_version}, engines: {engines}", markup=False)
    for key, value in device.labels.items():
        out.print(f"label {key}={value}")
    for card in device.datasets:
        schema = ", ".join(f"{column.name}: {column.dtype}{list(column.shape)}" for column in card.columns)
        told = card.problem or f"{card.examples} examples of {schema}"
        out.print(f"dataset {card.name}: {told}", markup=False)
