"""headwater version …"""

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import AsJson, Url, connect
from headwater.cli.output import as_json, out, size, table, transfer

app = typer.Typer(no_args_is_help=True, help="A model's parameters, through time.")


@app.command("list", epilog="Example: headwater version list digits")
def list_(
    model: Annotated[str | None, typer.Argument(help="Of which model; else of all.")] = None,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """List versions, oldest first."""
    with connect(url) as client:
        names = [model] if model else [found.name for found in client.models.list()]
        versions = tuple(version for name in names for version in client.versions.list(name))
    if json:
        as_json(versions)
        return
    rows = [
        (found.id, found.parent, found.run or "imported", found.round, size(found.parameters.size), found.created_at)
        for found in versions
    ]
    out.print(table(("VERSION", "PARENT", "RUN", "ROUND", "SIZE", "MADE"), rows))


@app.command("import", epilog="Example: headwater version import retrained.safetensors --model digits")
def import_(
    file: Annotated[Path, typer.Argument(help="Parameters by name: .safetensors, .npz or .onnx.")],
    model: Annotated[str, typer.Option(help="Of which model.")],
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Make a version of centrally retrained parameters."""
    with connect(url) as client, transfer(f"importing {file.name}") as moved:
        version = client.versions.import_file(file, model=model, on_bytes=moved)
    if json:
        as_json(version)
    else:
        out.print(f"[green]{version.id}[/]: {size(version.parameters.size)}")


@app.command("export", epilog="Example: headwater version export digits-7 --to model.onnx")
def export(
    version: str,
    to: Annotated[Path, typer.Option(help="A file, or a folder for VERSION.onnx.")] = Path(),
    url: Url = None,
) -> None:
    """Write a version as a self-contained ONNX file, verified by its digest."""
    with connect(url) as client, transfer(f"exporting {version}") as moved:
        written = client.versions.export(version, to, on_bytes=moved)
    out.print(f"{written} ({size(written.stat().st_size)})", markup=False)
