"""Use cases around runs: start, steer and show them."""

from dataclasses import dataclass

from headwater_wire.ids import RunId, VersionId

from headwater_control.core.runs import Round, Run, RunState, TaskRecord
from headwater_control.ports import Labels
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What an operator asks for; the rest are the defaults of `RunSpec`."""

    model: str
    dataset: str
    base: VersionId | None = None  # None: the model's newest version
    rounds: int = 10
    cohort: Labels = ()
    clients_per_round: int = 0
    over_select: float = 1.3
    quorum: float = 0.5
    round_deadline_s: float = 600.0
    progress_deadline_s: float = 120.0
    strategy: str = "fedavg"
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.05
    holdout: float = 0.2
    seed: int = 0
    reproducible: bool = False


@dataclass(frozen=True, slots=True)
class RoundMetrics:
    """A round in numbers. Holdout figures score the round's *base* version; None: nobody reported any."""

    reported: int
    examples: int
    train_loss: float | None  # weighted by examples
    holdout_examples: int
    holdout_loss: float | None  # weighted by held-out examples
    holdout_accuracy: float | None
    bytes_up: int
    bytes_down: int
    selecting_s: float | None  # from opening to asking
    collecting_s: float | None  # from asking to the freeze
    merging_s: float | None  # from the freeze to the commit


@dataclass(frozen=True, slots=True)
class RoundView:
    """A round, who was asked and what came of it."""

    round: Round
    tasks: tuple[TaskRecord, ...]  # in selection order
    metrics: RoundMetrics


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its rounds, first to last."""

    run: Run
    rounds: tuple[RoundView, ...]


async def start(world: World, request: RunRequest) -> Run:
    """Start a run; raise `NotFound` (model, version) or `Invalid` (a number, or a dataset that no device has)."""
    raise NotImplementedError


async def pause(world: World, run: RunId) -> Run:
    """Open no new round; the open one is finished. Raises `NotFound`, or `Conflict` if the run has ended."""
    raise NotImplementedError


async def resume(world: World, run: RunId) -> Run:
    """Go on after a pause. Raises `NotFound`, or `Conflict` if the run has ended."""
    raise NotImplementedError


async def cancel(world: World, run: RunId, reason: str = "cancelled by an operator") -> Run:
    """End a run and its open tasks. Raises `NotFound`, or `Conflict` if the run has ended otherwise."""
    raise NotImplementedError


async def list_runs(world: World, states: tuple[RunState, ...] = ()) -> tuple[Run, ...]:
    """List runs, oldest first."""
    raise NotImplementedError


async def show_run(world: World, run: RunId, last: int = 0) -> RunView:
    """Show a run with its `last` rounds (0: all); raise `NotFound`."""
    raise NotImplementedError
