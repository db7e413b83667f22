"""A run as it goes: a live picture on a terminal, a line per change elsewhere."""

from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headwater.cli.output import cell, size, table
from headwater.records import Round, Run, RunDetail, Task

_ROUNDS_SHOWN = 12
_TASKS_SHOWN = 24
_ACCURACY, _ERROR, _LATE = "ACCURACY", "MEAN ABSOLUTE ERROR", "LATE"
_HEADERS = (
    "ROUND", "STATE", "REPORTED", "EXAMPLES", "TRAIN LOSS", "HELD-OUT LOSS", _ACCURACY, _ERROR, "OF", "UP", _LATE,
    "SECONDS",
)  # fmt: skip
_ONLY_IF_WIDE = {"EXAMPLES", "UP"}
_WIDE = 100  # columns of the terminal
_SCORING = {"collecting": "scoring", "committed": "scored"}


class Picture:
    """The run as known so far: events carry only the last rounds, so some earlier ones are remembered."""

    def __init__(self) -> None:
        self._detail: RunDetail | None = None
        self._rounds: dict[int, Round] = {}
        self._ended = 0  # the last round of which this was told
        self._standing = "running"

    def take(self, detail: RunDetail) -> Iterator[str]:
        """Take an event in; give a line for each round that ended by it, and one if the run stands otherwise."""
        for found in detail.rounds:
            if found.closed_at and found.number > self._ended:
                self._ended = found.number
                yield line(found)
            self._rounds[found.number] = found
        for number in sorted(self._rounds)[:-_ROUNDS_SHOWN]:
            del self._rounds[number]
        if (now := standing(detail.run)) != self._standing and not detail.run.final:  # its end is told by who watches
            yield f"{detail.run.id} {now}"
        self._standing = now
        self._detail = detail

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._detail is None:
            yield Text("…")
            return
        run = self._detail.run
        rounds = [self._rounds[number] for number in sorted(self._rounds)]
        state, why = Text.from_markup(cell(run.state)), standing(run).removeprefix(run.state)
        parts: list[RenderableType] = [
            Text.assemble((run.id, "bold"), " ", state, why),
            Text(f"{run.spec.model} on {run.spec.dataset}; newest version {run.version}"),
        ]
        parts.append(rounds_table(rounds, options.max_width))
        if rounds and not rounds[-1].closed_at:
            parts += [Text(), _tasks(rounds[-1].tasks[:_TASKS_SHOWN])]
            if len(rounds[-1].tasks) > _TASKS_SHOWN:
                parts.append(Text(f"… and {len(rounds[-1].tasks) - _TASKS_SHOWN} more"))
        yield Group(*parts)


def show_live(console: Console, details: Iterable[RunDetail]) -> RunDetail | None:
    """Draw a run until it has ended; return it as it then is."""
    picture, last = Picture(), None
    if not console.is_terminal:
        for last in details:
            for text in picture.take(last):
                console.print(text, markup=False)
        return last
    with Live(picture, console=console, refresh_per_second=4) as live:
        for last in details:
            list(picture.take(last))
            live.refresh()
    return last


def standing(run: Run) -> str:
    """Say how a run stands, and why."""
    if run.reason.startswith(run.state):  # "cancelled by an operator"
        return run.reason
    return f"{run.state}: {run.reason}" if run.reason else run.state


def round_state(found: Round) -> str:
    """Name a round's state; of the last one, which trains nothing, by what it does."""
    return _SCORING.get(found.state, found.state) if found.evaluate else found.state


def rounds_table(rounds: Iterable[Round], width: int) -> Table:
    """Lay rounds out, a row each, with less on a narrow terminal, and only the figures that the model's loss has."""
    kept = tuple(rounds)
    hidden = _without_figures(kept) if width >= _WIDE else _without_figures(kept) | _ONLY_IF_WIDE
    shown = [number for number, name in enumerate(_HEADERS) if name not in hidden]
    rows = [_row(found) for found in kept]
    headers = [_HEADERS[number] if width >= _WIDE else _HEADERS[number].replace(" ", "\n") for number in shown]
    return table(headers, [[row[number] for number in shown] for row in rows])


def line(found: Round) -> str:
    """Tell a round that has ended in one line."""
    scores = found.scores
    parts = [f"round {found.number}: {round_state(found)}", f"{scores.reported} of {len(found.tasks)} reported"]
    if scores.train_loss is not None:
        parts.append(f"train loss {scores.train_loss:.4f}")
    if scores.holdout_accuracy is not None:
        parts.append(f"accuracy of {found.base} {scores.holdout_accuracy:.4f}")
    if scores.holdout_mean_absolute_error is not None:
        parts.append(f"mean absolute error of {found.base} {scores.holdout_mean_absolute_error:.4f}")
    if found.merged:
        parts.append(f"made {found.merged}")
    return ", ".join(parts) + (f" ({found.reason})" if found.reason else "")


def _without_figures(rounds: Iterable[Round]) -> set[str]:
    scores = [found.scores for found in rounds]
    told = {
        _ACCURACY: any(score.holdout_accuracy is not None for score in scores),
        _ERROR: any(score.holdout_mean_absolute_error is not None for score in scores),
        _LATE: any(score.late for score in scores),
    }
    return {name for name, has in told.items() if not has}


def _row(found: Round) -> tuple[object, ...]:
    scores = found.scores
    seconds = (found.closed_at - found.opened_at).total_seconds() if found.closed_at else None
    return (
        found.number,
        round_state(found),
        f"{scores.reported}/{len(found.tasks)}",
        scores.examples,
        scores.train_loss,
        scores.holdout_loss,
        scores.holdout_accuracy,
        scores.holdout_mean_absolute_error,
        found.base,
        size(scores.bytes_up),
        scores.late,
        f"{seconds:.1f}" if seconds is not None else "",
    )


def _tasks(tasks: Iterable[Task]) -> Table:
    grid = Table(box=None, pad_edge=False, show_header=False)
    for task in tasks:
        what = task.phase or "asked" if task.state == "open" else task.state
        done = task.steps if task.state == "succeeded" else task.step
        bar = ProgressBar(total=max(1, task.steps), completed=done, width=24)
        loss = f"loss {task.loss:.4f}" if task.loss else ""
        grid.add_row(task.device, Text.from_markup(cell(what)), bar, loss, Text(task.waiting_for or task.reason))
    return grid
