"""headwater run …"""

from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.markup import escape

from headwater.cli.options import AsJson, Url, by_flag, connect, labels
from headwater.cli.output import as_json, err, out, size, table
from headwater.cli.watching import round_state, rounds_table, show_live, standing
from headwater.client import Client
from headwater.defaults import OPTIMIZERS, RUN, STRATEGIES
from headwater.errors import HeadwaterError
from headwater.records import RunDetail, Task

_ROUNDS_SHOWN = 20
app = typer.Typer(
    no_args_is_help=True,
    help="Train a model across the fleet.",
    epilog="Example: headwater run start --model digits --dataset digits --watch",
)
_LOOK_S = 1.0
_FLAGS = {
    "batch_size": "--batch",
    "learning_rate": "--lr",
    "round_deadline_s": "--deadline",
    "progress_deadline_s": "--progress-deadline",
}
_Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as headwater run list shows it.")]
_Watch = Annotated[bool, typer.Option("--watch", help="Show it live until it has ended.")]


def _knob(name: str, help_: str) -> Any:
    """Describe an option that the control plane has a default for."""
    return typer.Option(help=f"{help_} (default: {RUN[name]}).")


@app.command(
    "start",
    epilog="Example: headwater run start --model digits --dataset digits --rounds 5 --cohort site=north --watch",
)
def start(
    model: Annotated[str, typer.Option(help="Which model.")],
    dataset: Annotated[str, typer.Option(help="The dataset's name, as the devices' own configurations call it.")],
    rounds: Annotated[int | None, _knob("rounds", "How often devices train and are merged")] = None,
    cohort: Annotated[list[str] | None, typer.Option(help="Labels key=value a device must have; else any.")] = None,
    clients_per_round: Annotated[
        int | None, _knob("clients_per_round", "How many are to report; 0: every eligible device")
    ] = None,
    epochs: Annotated[int | None, _knob("epochs", "Passes over a device's data, each round")] = None,
    batch: Annotated[int | None, _knob("batch_size", "Examples a step")] = None,
    lr: Annotated[float | None, _knob("learning_rate", "Learning rate")] = None,
    optimizer: Annotated[str | None, _knob("optimizer", f"One of {', '.join(OPTIMIZERS)}")] = None,
    momentum: Annotated[float | None, _knob("momentum", "Of momentum and nesterov")] = None,
    beta1: Annotated[float | None, _knob("beta1", "Of adam and adamw, of the mean gradient")] = None,
    beta2: Annotated[float | None, _knob("beta2", "Of adam and adamw, of the squared gradient")] = None,
    epsilon: Annotated[float | None, _knob("epsilon", "Of adam and adamw")] = None,
    weight_decay: Annotated[float | None, _knob("weight_decay", "Pull towards zero; decoupled for adamw")] = None,
    clip_norm: Annotated[float | None, _knob("clip_norm", "Most a step's whole gradient may measure; 0: any")] = None,
    proximal: Annotated[float | None, _knob("proximal", "FedProx: pull towards the round's base; 0: none")] = None,
    holdout: Annotated[float | None, _knob("holdout", "Share of the data that is scored, never trained on")] = None,
    seed: Annotated[int | None, _knob("seed", "Of everything that is drawn")] = None,
    reproducible: Annotated[bool, typer.Option("--reproducible", help="Same seeds, same machine, same bits.")] = False,
    base: Annotated[str | None, typer.Option(help="Start from this version; else the newest.")] = None,
    deadline: Annotated[float | None, _knob("round_deadline_s", "Seconds a round may take")] = None,
    progress_deadline: Annotated[
        float | None, _knob("progress_deadline_s", "Seconds a device may show no progress")
    ] = None,
    over_select: Annotated[
        float | None, _knob("over_select", "So many times the --clients-per-round are asked, lest some drop out")
    ] = None,
    quorum: Annotated[float | None, _knob("quorum", "Share of the --clients-per-round that must report")] = None,
    strategy: Annotated[
        str | None, _knob("strategy", f"How deltas become the next version: {', '.join(STRATEGIES)}")
    ] = None,
    watch: _Watch = False,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Ask devices to train, round by round, and merge what they learnt."""
    with connect(url) as client:
        with by_flag(**_FLAGS):
            run = client.runs.start(
                model=model, dataset=dataset, rounds=rounds, cohort=labels(cohort), clients_per_round=clients_per_round,
                epochs=epochs, batch_size=batch, learning_rate=lr, optimizer=optimizer, momentum=momentum, beta1=beta1,
                beta2=beta2, epsilon=epsilon, weight_decay=weight_decay, clip_norm=clip_norm, proximal=proximal,
                holdout=holdout, seed=seed,
                reproducible=reproducible or None, base=base, round_deadline_s=deadline,
                progress_deadline_s=progress_deadline, over_select=over_select, quorum=quorum, strategy=strategy,
            )  # fmt: skip
        if json:
            as_json(run)
        else:
            out.print(f"[green]{run.id}[/] started; headwater run watch {run.id}", soft_wrap=True)
        if watch:
            _follow(client, run.id)
        elif not json and (why := _why_waiting(client, run.id)):
            out.print(f"{run.id} {why}", markup=False, soft_wrap=True)


@app.command("watch", epilog="Example: headwater run watch RUN")
def watch(run: _Run, url: Url = None) -> None:
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
    if not runs:
        none = "no run is in that state: headwater run list shows all"
        out.print(none if state else "no runs yet: headwater run start --model MODEL --dataset DATASET")
        return
    rows = [
        (
            run.id,
            run.spec.model,
            run.spec.dataset,
            run.spec.cohort or "every device",
            run.state,
            f"{min(run.round, run.spec.rounds)}/{run.spec.rounds}",
            run.version,
            run.created_at,
        )
        for run in runs
    ]
    out.print(table(("RUN", "MODEL", "DATASET", "COHORT", "STATE", "ROUND", "VERSION", "STARTED"), rows))


@app.command("show", epilog="Example: headwater run show RUN --last 3")
def show(
    run: _Run,
    last: Annotated[int | None, typer.Option(min=0, help="So many of the newest rounds; 0, and --json: all.")] = None,
    json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a run by round: who was asked, who reported, who dropped and why."""
    with connect(url) as client:
        detail = client.runs.show(run, last=last if last is not None else 0 if json else _ROUNDS_SHOWN)
    if json:
        as_json(detail)
        return
    describe(detail)
    if detail.rounds and (earlier := detail.rounds[0].number - 1):
        which = "round 1 is" if earlier == 1 else f"rounds 1 to {earlier} are"
        out.print(f"\n{which} not shown: headwater run show {run} --last 0", markup=False, soft_wrap=True)


@app.command("pause", epilog="Example: headwater run pause RUN")
def pause(run: _Run, url: Url = None) -> None:
    """Open no new round; the open one is finished."""
    with connect(url) as client:
        out.print(f"{run} is {client.runs.pause(run).state}")


@app.command("resume", epilog="Example: headwater run resume RUN")
def resume(run: _Run, url: Url = None) -> None:
    """Go on after a pause."""
    with connect(url) as client:
        out.print(f"{run} is {client.runs.resume(run).state}")


@app.command("cancel", epilog="Example: headwater run cancel RUN")
def cancel(run: _Run, url: Url = None) -> None:
    """End a run and its open tasks; the versions it made stay."""
    with connect(url) as client:
        out.print(f"{run} is {client.runs.cancel(run).state}")


def _follow(client: Client, run: str) -> None:
    try:
        show_live(out, client.runs.watch(run))
    except KeyboardInterrupt:
        err.print(f"\n{run} goes on: headwater run watch {run} looks again, headwater run cancel {run} ends it")
        raise typer.Exit(130) from None
    ended = client.runs.show(run, last=1).run
    out.print(f"{run} {standing(ended)}; newest version {ended.version}", markup=False, soft_wrap=True)
    if ended.state != "completed":
        raise typer.Exit(1)


def _why_waiting(client: Client, run: str) -> str:
    """Look for a moment whether a run asks devices; say how it stands if it has to wait."""
    with suppress(HeadwaterError):
        for detail in client.runs.watch(run, timeout_s=_LOOK_S):
            if detail.run.reason:
                return standing(detail.run)
            if any(found.state != "selecting" for found in detail.rounds):
                return ""
    return ""


def _why(task: Task) -> str:
    """Say why a task stands as it does; of one that ended without its delta, also whether that came after all."""
    late = f"its delta came too late, {task.late_at:%Y-%m-%d %H:%M:%S} UTC" if task.late_at else ""
    return "; ".join(part for part in (task.reason or task.waiting_for, late) if part)


def describe(detail: RunDetail) -> None:
    """Print a run round by round; reasons, which devices word, are no markup."""
    run, spec = detail.run, detail.run.spec
    out.print(f"[bold]{run.id}[/] {escape(standing(run))}", soft_wrap=True)
    out.print(f"{spec.model} on {spec.dataset}, {spec.rounds} rounds from {spec.base}; newest version {run.version}")
    knobs = (
        f"{spec.strategy}, {spec.optimizer}, epochs {spec.epochs}, batch {spec.batch_size}, lr {spec.learning_rate}, "
    )
    knobs += f"seed {spec.seed}"
    out.print(f"{knobs}{', reproducible' if spec.reproducible else ''}\n")
    out.print(rounds_table(detail.rounds, out.width))
    for found in detail.rounds:
        why = f": {found.reason}" if found.reason else ""
        out.print(f"\nround {found.number} {round_state(found)}{why}", markup=False, soft_wrap=True)
        rows = [
            (task.device, task.state, task.phase if task.state == "open" else "",
             task.metrics.examples if task.metrics else None, size(task.bytes_up), _why(task))
            for task in found.tasks
        ]  # fmt: skip
        if rows:
            out.print(table(("DEVICE", "TASK", "PHASE", "EXAMPLES", "UP", "WHY"), rows))
