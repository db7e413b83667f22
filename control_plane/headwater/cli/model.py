"""headwater model …"""

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import AsJson, Url, by_flag, connect
from headwater.cli.output import as_json, out, size, table, transfer
from headwater.defaults import LOSSES
from headwater.errors import Conflict
from headwater.records import Model

app = typer.Typer(
    no_args_is_help=True, help="Import ONNX graphs and look at them.", epilog="Example: headwater model list"
)


@app.command("import", epilog="Example: headwater model import digits.onnx --loss cross_entropy --trainable 'head.*'")
def import_(
    file: Annotated[Path, typer.Argument(help="An ONNX file; its batch axis is best dynamic.")],
    loss: Annotated[str, typer.Option(help=f"{', '.join(LOSSES)}; with options: cross_entropy:smoothing=0.1.")],
    name: Annotated[str | None, typer.Option(help="What to call it; else as the file is called.")] = None,
    trainable: Annotated[
        list[str] | None,
        typer.Option(
            help="Pattern of names, last:N layers, bias, batch_norm, or lora:RANK; repeatable; else all that can."
        ),
    ] = None,
    output: Annotated[str, typer.Option(help="Which output the loss reads, if there are several.")] = "",
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Check an ONNX file, make a trainable bundle of it and store its first version."""
    with connect(url) as client, by_flag(), transfer(f"importing {file.name}") as moved:
        try:
            made = client.models.import_file(
                file, loss=loss, name=name, trainable=trainable or (), output=output, on_bytes=moved
            )
        except Conflict as error:
            raise Conflict(f"{error}, with --name") from error
    if json:
        as_json(made)
        return
    out.print(
        f"[green]{made.model.name}[/]: {made.model.elements:,} trainable numbers; first version {made.version.id}"
    )
    for note in made.notes:
        out.print(f"  {note}", markup=False)


@app.command("check", epilog="Example: headwater model check digits.onnx --loss cross_entropy --trainable last:1")
def check(
    file: Annotated[Path, typer.Argument(help="An ONNX file; its batch axis is best dynamic.")],
    loss: Annotated[str, typer.Option(help=f"{', '.join(LOSSES)}; with options: cross_entropy:smoothing=0.1.")],
    trainable: Annotated[
        list[str] | None,
        typer.Option(
            help="Pattern of names, last:N layers, bias, batch_norm, or lora:RANK; repeatable; else all that can."
        ),
    ] = None,
    output: Annotated[str, typer.Option(help="Which output the loss reads, if there are several.")] = "",
    batch: Annotated[int, typer.Option(help="Examples a step.")] = 32,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Say what would train, what is frozen and why, and what a step takes; nothing is kept."""
    with connect(url) as client, by_flag(batch_size="--batch"), transfer(f"checking {file.name}") as moved:
        found = client.models.check_file(
            file, loss=loss, trainable=trainable or (), output=output, batch_size=batch, on_bytes=moved
        )
    if json:
        as_json(found)
        return
    rows = [(row.name, "×".join(map(str, row.shape)), "yes" if row.trains else f"no: {row.why}") for row in found.rows]
    out.print(table(("PARAMETER", "SHAPE", "TRAINS"), rows))
    out.print(
        f"{found.elements:,} trainable numbers; a delta has {size(found.delta_bytes)}\n"
        f"memory at batch {found.batch_size}: parameters {size(found.parameter_bytes)}, a step "
        f"{size(found.activation_bytes)}; adam would add {size(found.adam_bytes)}\n"
        f"a step here, on one thread: {1e3 * found.step_s:.1f} ms\n"
        f'on a box with memory = "small": {size(found.small_bytes)} in all, {1e3 * found.small_step_s:.1f} ms a step'
    )
    for note in found.notes:
        out.print(f"  {note}", markup=False)


@app.command("list", epilog="Example: headwater model list")
def list_(json: AsJson = False, url: Url = None) -> None:
    """List the models."""
    with connect(url) as client:
        models = client.models.list()
    if json:
        as_json(models)
    elif not models:
        out.print("no models yet: headwater model import FILE --loss cross_entropy")
    else:
        rows = [(model.name, model.loss, f"{model.elements:,}", model.created_at) for model in models]
        out.print(table(("MODEL", "LOSS", "TRAINABLE", "IMPORTED"), rows))


@app.command("show", epilog="Example: headwater model show digits")
def show(
    model: Annotated[str, typer.Argument(help="Its name, as headwater model list shows it.")],
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a model and its versions."""
    with connect(url) as client:
        found = client.models.show(model)
        versions = () if json else client.versions.list(model)
    if json:
        as_json(found)
        return
    _describe(found)
    rows = [(version.id, version.parent, version.run, version.round, version.created_at) for version in versions]
    out.print(table(("VERSION", "PARENT", "RUN", "ROUND", "MADE"), rows))


def _describe(model: Model) -> None:
    out.print(f"[bold]{model.name}[/]: loss {model.loss}, {model.elements:,} trainable numbers")
    out.print(f"graph {model.graph.digest} ({size(model.graph.size)})\n")
