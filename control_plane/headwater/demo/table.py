"""The demo's last words: who learnt what, and what it cost."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headwater.cli.output import size
from headwater.demo.story import Learner, Result


def picture(result: Result) -> RenderableType:
    """Lay the result out."""
    title = f"{result.problem}: accuracy on {result.test_examples:,} held-out images of all ten"
    laid = Table(title=title, title_justify="left", min_width=len(title))
    laid.add_column("model")
    laid.add_column("digits seen")
    laid.add_column("images", justify="right")
    laid.add_column("accuracy", justify="right")
    _row(laid, result.merged, "bold green" if result.wins else "bold red")
    laid.add_section()
    for learner in result.local:
        _row(laid, learner, "")
    laid.add_section()
    _row(laid, result.central, "dim")
    devices = len(result.local)
    costs = Table.grid(padding=(0, 2))
    costs.add_row("rounds", f"{result.rounds}, {result.seconds_a_round:.2f} s each (median)")
    costs.add_row("up", f"{size(result.bytes_up)} from {devices} devices, all rounds: deltas and scores")
    costs.add_row("down", f"{size(result.bytes_down)} to {devices} devices, all rounds: graph and parameters")
    costs.add_row("images sent", "none")
    costs.add_row("rolled out", f"{result.version}, installed and checked on {result.installed} devices")
    return Group(laid, costs, Text())


def _row(laid: Table, learner: Learner, style: str) -> None:
    laid.add_row(learner.name, learner.sees, f"{learner.examples:,}", f"{learner.accuracy:.1%}", style=style)
