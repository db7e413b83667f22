"""headwater version …"""

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import AsJson, Url, by_flag, connect
from headwater.cli.output import as_json, out, size, table, transfer
from headwater.models import export_path

app = typer.Typer(
    no_args_is_help=True, help="A model's parameters, through time.", epilog="Example: headwater version list digits"
)


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
    if not versions:
        out.print("no versions yet: headwater model import FILE --loss cross_entropy makes a model's first")
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
    with connect(url) as client, by_flag(), transfer(f"importing {file.name}") as moved:
        version = client.versions.import_file(file, model=model, on_bytes=moved)
    if json:
        as_json(version)
    else:
        out.print(f"[green]{version.id}[/]: {size(version.parameters.size)}")


@app.command("export", epilog="Example: headwater version export digits-7 --to model.onnx")
def export(
    version: Annotated[str, typer.Argument(help="Its id, as headwater version list shows it.")],
    to: Annotated[Path, typer.Option(help="A file, or a folder that is there, for VERSION.onnx.")] = Path(),
    url: Url = None,
) -> None:
    """Write a version as a self-contained ONNX file, verified by its digest.

    A file of that name is replaced; missing folders above it are made.
    """
    replaced = export_path(version, to).exists()
    with connect(url) as client, transfer(f"exporting {version}") as moved:
        written = client.versions.export(version, to, on_bytes=moved)
    out.print(f"{written} ({size(written.stat().st_size)}{', replaced' if replaced else ''})", markup=False)
