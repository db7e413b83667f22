"""headwater run …"""

from typing import Annotated, Any

import typer
from rich.markup import escape

from headwater.cli.options import AsJson, Url, connect, labels
from headwater.cli.output import as_json, err, out, size, table
from headwater.cli.watching import rounds_table, show_live
from headwater.client import Client
from headwater.records import RunDetail

app = typer.Typer(no_args_is_help=True, help="Train a model across the fleet.")
_SERVERS = "the control plane's"  # it alone knows them: its /docs lists them
_Watch = Annotated[bool, typer.Option("--watch", help="Show it live until it has ended.")]


def _knob(help_: str) -> Any:
    """Describe an option that the control plane has a default and limits for."""
    return typer.Option(help=help_, show_default=_SERVERS)


@app.command(
    "start",
    epilog="Example: headwater run start --model digits --dataset digits --rounds 5 --cohort site=north --watch",
)
def start(
    model: Annotated[str, typer.Option(help="Which model.")],
    dataset: Annotated[str, typer.Option(help="The dataset's name, as the devices' own configurations call it.")],
    rounds: Annotated[int | None, _knob("How often devices train and are merged.")] = None,
    cohort: Annotated[list[str] | None, typer.Option(help="Labels key=value a device must have; else any.")] = None,
    clients_per_round: Annotated[int | None, _knob("The target; 0: every eligible device.")] = None,
    epochs: Annotated[int | None, _knob("Passes over a device's data, each round.")] = None,
    batch: Annotated[int | None, _knob("Examples a step.")] = None,
    lr: Annotated[float | None, _knob("Learning rate.")] = None,
    holdout: Annotated[float | None, _knob("Share of the data that is scored, never trained on.")] = None,
    seed: Annotated[int | None, _knob("Of everything that is drawn.")] = None,
    reproducible: Annotated[bool, typer.Option("--reproducible", help="Same seeds, same machine, same bits.")] = False,
    base: Annotated[str | None, typer.Option(help="Start from this version; else the newest.")] = None,
    deadline: Annotated[float | None, _knob("Seconds a round may take.")] = None,
    progress_deadline: Annotated[float | None, _knob("Seconds a device may show no progress.")] = None,
    over_select: Annotated[float | None, _knob("So many times the target are asked.")] = None,
    quorum: Annotated[float | None, _knob("Share of the target that must report.")] = None,
    strategy: Annotated[str | None, _knob("How deltas become the next version.")] = None,
    watch: _Watch = False,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Ask devices to train, round by round, and merge what they learnt."""
    with connect(url) as client:
        run = client.runs.start(
            model=model, dataset=dataset, rounds=rounds, cohort=labels(cohort), clients_per_round=clients_per_round,
            epochs=epochs, batch_size=batch, learning_rate=lr, holdout=holdout, seed=seed,
            reproducible=reproducible or None, base=base, round_deadline_s=deadline,
            progress_deadline_s=progress_deadline, over_select=over_select, quorum=quorum, strategy=strategy,
        )  # fmt: skip
        if json:
            as_json(run)
        else:
            out.print(f"[green]{run.id}[/] started; headwater run watch {run.id}", soft_wrap=True)
        if watch:
            _follow(client, run.id)


@app.command("watch", epilog="Example: headwater run watch RUN")
def watch(run: str, url: Url = None) -> None:
    """Show a run live until it has ended; exit with 1 if it did not complete. Ctrl-C only stops the watching."""
    with connect(url) as client:
        _follow(client, run)


@app.command("list", epilog="Example: headwater run list --state running")
def list_(
    state: Annotated[list[str] | None, typer.Option(help="running, paused, completed, failed, cancelled.")] = None,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """List runs, oldest first."""
    with connect(url) as client:
        runs = client.runs.list(state or ())
    if json:
        as_json(runs)
        return
    rows = [
        (
            run.id,
            run.spec.model,
            run.spec.dataset,
            run.state,
            f"{min(run.round, run.spec.rounds)}/{run.spec.rounds}",
            run.version,
            run.created_at,
        )
        for run in runs
    ]
    out.print(table(("RUN", "MODEL", "DATASET", "STATE", "ROUND", "VERSION", "STARTED"), rows))


@app.command("show", epilog="Example: headwater run show RUN")
def show(run: str, json: AsJson = False, url: Url = None) -> None:
    """Show a run by round: who was asked, who reported, who dropped and why."""
    with connect(url) as client:
        detail = client.runs.show(run)
    if json:
        as_json(detail)
    else:
        describe(detail)


@app.command("pause", epilog="Example: headwater run pause RUN")
def pause(run: str, url: Url = None) -> None:
    """Open no new round; the open one is finished."""
    with connect(url) as client:
        out.print(f"{run} is {client.runs.pause(run).state}")


@app.command("resume", epilog="Example: headwater run resume RUN")
def resume(run: str, url: Url = None) -> None:
    """Go on after a pause."""
    with connect(url) as client:
        out.print(f"{run} is {client.runs.resume(run).state}")


@app.command("cancel", epilog="Example: headwater run cancel RUN")
def cancel(run: str, url: Url = None) -> None:
    """End a run and its open tasks; the versions it made stay."""
    with connect(url) as client:
        out.print(f"{run} is {client.runs.cancel(run).state}")


def _follow(client: Client, run: str) -> None:
    try:
        show_live(out, client.runs.watch(run))
    except KeyboardInterrupt:
        err.print(f"\n{run} goes on: headwater run watch {run} looks again, headwater run cancel {run} ends it")
        raise typer.Exit(130) from None
    ended = client.runs.show(run).run
    out.print(f"{run} {ended.state}: newest version {ended.version} {ended.reason}".rstrip(), markup=False)
    if ended.state != "completed":
        raise typer.Exit(1)


def describe(detail: RunDetail) -> None:
    """Print a run round by round; reasons, which devices word, are no markup."""
    run, spec = detail.run, detail.run.spec
    out.print(f"[bold]{run.id}[/] {run.state} {escape(run.reason)}".rstrip())
    out.print(f"{spec.model} on {spec.dataset}, {spec.rounds} rounds from {spec.base}; newest version {run.version}")
    knobs = f"{spec.strategy}, epochs {spec.epochs}, batch {spec.batch_size}, lr {spec.learning_rate}, seed {spec.seed}"
    out.print(f"{knobs}{', reproducible' if spec.reproducible else ''}\n")
    out.print(rounds_table(detail.rounds, out.width))
    for found in detail.rounds:
        rows = [
            (task.device, task.state, task.phase if task.state == "open" else "",
             task.metrics.examples if task.metrics else None, size(task.bytes_up), task.reason or task.waiting_for)
            for task in found.tasks
        ]  # fmt: skip
        title = escape(f"\nround {found.number}: {found.state} {found.reason}".rstrip())
        out.print(table(("DEVICE", "TASK", "PHASE", "EXAMPLES", "UP", "WHY"), rows, title=title))
