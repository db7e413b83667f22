"""The `headwater` command."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated

import typer

from headwater.cli import audit, backup, broker, device, keys, login, model, rollout, run, serve, token
from headwater.cli import version as versions
from headwater.errors import HeadwaterError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train ONNX models where the data is, merge what was learnt, roll the better model out.",
    epilog="Example: headwater device list",
)
app.command(epilog="Example: headwater serve --data-dir /var/lib/headwater")(serve.serve)
app.command(epilog="Example: headwater backup /mnt/backups/monday --data-dir /var/lib/headwater")(backup.backup)
app.command(epilog="Example: headwater restore /mnt/backups/monday --data-dir /var/lib/headwater")(backup.restore)
app.command("broker-config", epilog="Example: headwater broker-config --to /etc/mosquitto/headwater --group mosquitto")(
    broker.config
)
app.command(epilog="Example: headwater login https://control.example:8080 --ca-fingerprint sha256:…")(login.login)
app.command(epilog="Example: headwater logout")(login.logout)
app.command(epilog="Example: headwater whoami --json")(login.whoami)
for name, group in (
    ("model", model.app),
    ("version", versions.app),
    ("device", device.app),
    ("run", run.app),
    ("rollout", rollout.app),
    ("audit", audit.app),
    ("token", token.app),
    ("keys", keys.app),
):
    app.add_typer(group, name=name)
if find_spec("headwater.cli.demo"):  # not in every installation
    app.command(epilog="Example: headwater demo --rounds 5 --devices 3 --keep")(
        import_module("headwater.cli.demo").demo
    )


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"headwater {version('headwater')}\n")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Everything an operator does."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a failure is one sentence on stderr and exit code 1."""
    try:
        app(arguments)
    except HeadwaterError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
