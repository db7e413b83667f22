"""headwater backup, headwater restore: for whoever is on the control plane's machine."""

import asyncio
import json as jsons
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import AsJson
from headwater.cli.output import err, out, size, transfer
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from headwater_control.backup import Manifest

Config = Annotated[Path | None, typer.Option("--config", help="The TOML file that `headwater serve` is started with.")]
DataDir = Annotated[str | None, typer.Option(help="The control plane's data directory (default: headwater-data).")]


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for it.")],
    config: Config = None,
    data_dir: DataDir = None,
    database: Annotated[str | None, typer.Option(help="postgresql://…, if that is not in the configuration.")] = None,
    json: AsJson = False,
) -> None:
    """Copy the control plane, also while it runs: database, models, deltas, keys. Whoever has the copy is the fleet.

    It is complete once it has a manifest.json. A database on PostgreSQL is not in it: run pg_dump before.
    """
    try:
        from headwater_control.backup import BadBackup, take
        from headwater_control.config import BadSetting, load
    except ModuleNotFoundError as error:
        raise _not_here(error) from error
    try:
        settings = load(config, os.environ, {"data_dir": data_dir, "database": database})
        with transfer("copying") as moved:
            made = asyncio.run(take(settings, folder, config=config, on_bytes=moved))
    except (BadBackup, BadSetting) as error:
        raise HeadwaterError(str(error)) from error
    if json:
        _as_json(folder, made)
    else:
        out.print(f"{folder}: {len(made.files)} files, {size(made.size)}", markup=False)
        if made.database == "postgresql":
            out.print("The database is not in it: it is on PostgreSQL, and pg_dump should have come before.")
        outside = [
            text
            for text in (
                settings.ca_chain,
                settings.ca_key,
                settings.ca_provisioner_key,
                settings.oidc_ca,
                settings.mosquitto_dir,
            )
            if text
        ]
        if outside:
            out.print(f"Not in it, since they are elsewhere: {', '.join(outside)}", markup=False)
    _exit_if_lacking(made)


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.")],
    data_dir: Annotated[Path, typer.Option(help="The new control plane's data directory: a new or empty folder.")],
    json: AsJson = False,
) -> None:
    """Make a data directory from a backup: every file is checked first. Then start `headwater serve` on it."""
    try:
        from headwater_control.backup import BadBackup
        from headwater_control.backup import restore as restored
    except ModuleNotFoundError as error:
        raise _not_here(error) from error
    try:
        with transfer("checking") as moved:
            made = restored(folder, data_dir, on_bytes=moved)
    except BadBackup as error:
        raise HeadwaterError(str(error)) from error
    if json:
        _as_json(data_dir, made)
    else:
        _tell_restored(data_dir, made)
    _exit_if_lacking(made)


def _tell_restored(folder: Path, made: "Manifest") -> None:
    out.print(
        f"{folder}: {len(made.files)} files, {size(made.size)}, as of {made.made_at:%Y-%m-%d %H:%M} UTC", markup=False
    )
    if made.database == "postgresql":
        out.print("The database is on PostgreSQL: restore its dump before the first start.")
    if at := ", ".join(place for place in made.endpoints.values() if place):
        out.print(
            f"It was at {at}. Boxes look for it at the names of their invitations: keep names and ports.", markup=False
        )
    out.print("Revoked, disabled or withdrawn since then? It is not any more: see docs/backup.md.")


def _exit_if_lacking(made: "Manifest") -> None:
    """Name a blob that the database needs and the backup has not, if there is one, and exit with 1."""
    if made.lacking:
        err.print(f"{len(made.lacking)} blobs are missing or damaged, such as {made.lacking[0]}: see docs/backup.md")
        raise typer.Exit(1)


def _as_json(folder: Path, made: "Manifest") -> None:
    tree = {
        "folder": str(folder),
        "made_at": made.made_at.isoformat(),
        "database": made.database,
        "files": len(made.files),
        "size": made.size,
        "lacking": made.lacking,
        "endpoints": made.endpoints,
    }
    sys.stdout.write(jsons.dumps(tree, indent=2) + "\n")


def _not_here(error: ModuleNotFoundError) -> HeadwaterError:
    return HeadwaterError(f"this needs {error.name}, which is not here: pip install 'headwater[control]'")
