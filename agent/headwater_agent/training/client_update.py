"""One client's update of a model: score the base on the held-out share, then run epochs of steps on the rest."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np
from headwater_wire.crashpoint import crashpoint
from headwater_wire.messages import Metrics, Plan

from headwater_agent.core.shares import SCORING_BATCH, steps_of
from headwater_agent.training.checkpoint import Place
from headwater_agent.training.datasets import Dataset
from headwater_agent.training.datasets.split import Rows, shuffled, split
from headwater_agent.training.engine import Score, Session, Vector
from headwater_agent.training.errors import NotPossible, WentWrong
from headwater_agent.training.keeper import Keeper

_COUNTED = frozenset({"cross_entropy", "bce_with_logits"})  # losses by which an example is right or wrong
_MEASURED = frozenset({"mse", "l1", "huber"})  # losses by which it is so far off

Report = Callable[[int, int, float], None]  # (step, steps, loss): a step is a batch, scored or trained on


@dataclass(frozen=True, slots=True)
class Update:
    """What came out: `delta` is trained − base, None if the plan only scores."""

    metrics: Metrics
    delta: Vector | None


def update(
    session: Session,
    dataset: Dataset,
    base: Vector,
    plan: Plan,
    report: Report,
    loss: str,
    keeper: Keeper | None = None,
) -> Update:
    """Do one task's work, from the keeper's checkpoint on if there is one; raise `Interrupted` if it is asked to stop.

    The same arguments give the same bits on the same machine with the same threads, however often it was cut short.
    """
    started, keeper = time.monotonic(), keeper or Keeper()
    rows, held_out = split(dataset.count, plan.holdout)
    steps = _Steps(steps_of(dataset.count, plan), report)
    session.load(base, plan)
    if recalled := keeper.recall():
        place, state = recalled
        session.restore(state)
        started -= place.seconds
        steps.skip(ceil(len(held_out) / SCORING_BATCH) + place.steps)
    else:
        place = Place(0, 0.0, _score(session, dataset, held_out, steps, keeper), 0.0)
    score = place.score
    delta, train_loss, examples = None, 0.0, 0
    if plan.train:
        if not len(rows):
            raise NotPossible(
                f"dataset {dataset.name!r} has {dataset.count} examples, and a held-out share of {plan.holdout} "
                "leaves none to train on: lower the share, or collect more"
            )

        def reached(count: int, loss_sum: float) -> None:
            keeper.passed(Place(count, loss_sum, score, time.monotonic() - started), session)

        train_loss = _train(session, dataset, rows, plan, steps, place, reached)
        delta, examples = _difference(session.vector(), base, plan), len(rows)
    metrics = Metrics(
        examples=examples,
        train_loss=train_loss,
        holdout_examples=len(held_out),
        holdout_loss=score.loss / max(1, len(held_out)),
        holdout_correct=score.correct if loss in _COUNTED else None,
        seconds=time.monotonic() - started,
        holdout_absolute_error=score.absolute_error if loss in _MEASURED else None,
    )
    return Update(metrics, delta)


class _Steps:
    """Counts them for whoever waits."""

    def __init__(self, total: int, report: Report) -> None:
        self._total = total
        self._report = report
        self._done = 0

    def skip(self, count: int) -> None:
        """Count those that were taken in an earlier life."""
        self._done = count

    def took(self, loss: float) -> None:
        """Count one, and tell of it."""
        self._done += 1
        self._report(self._done, self._total, loss)


def _score(session: Session, dataset: Dataset, rows: Rows, steps: _Steps, keeper: Keeper) -> Score:
    """Add up what some examples come to, batch by batch."""
    total, seen = Score(0.0), 0
    for part in _batches(rows, SCORING_BATCH):
        found = session.evaluate(dataset.batch(part))
        seen += len(part)
        total = Score(
            total.loss + found.loss, total.correct + found.correct, total.absolute_error + found.absolute_error
        )
        if not isfinite(total.loss):
            raise WentWrong(
                f"the base version's loss on the held-out examples is {total.loss}: the version is unusable, "
                "or the data is scaled otherwise than it expects"
            )
        steps.took(total.loss / seen)
        keeper.heed()
    return total


def _train(
    session: Session,
    dataset: Dataset,
    rows: Rows,
    plan: Plan,
    steps: _Steps,
    place: Place,
    reached: Callable[[int, float], None],
) -> float:
    """Train what is left of all epochs; return the last one's mean loss per example."""
    batches = ceil(len(rows) / plan.batch_size)
    total, loss_sum = plan.epochs * batches, place.loss_sum
    for epoch in range(place.steps // batches, plan.epochs):
        taken = max(0, place.steps - epoch * batches)  # of this epoch's batches, in an earlier life
        loss_sum = loss_sum if taken else 0.0
        order = shuffled(rows, plan.seed, epoch)
        for number, part in enumerate(_batches(order[taken * plan.batch_size :], plan.batch_size), taken + 1):
            loss = session.train_step(dataset.batch(part), plan.learning_rate)
            step = epoch * batches + number
            crashpoint("train.step")
            if not isfinite(loss):
                raise WentWrong(_diverged(f"the loss became {loss} at step {step} of {total}", plan))
            loss_sum += loss * len(part)
            steps.took(loss)
            reached(step, loss_sum)
    return loss_sum / len(rows)


def _difference(trained: Vector, base: Vector, plan: Plan) -> Vector:
    delta = trained - base
    if not np.isfinite(delta).all():
        raise WentWrong(_diverged("the trained parameters are no longer finite", plan))
    return delta


def _diverged(what: str, plan: Plan) -> str:
    return (
        f"{what}, with learning rate {plan.learning_rate:g}: start the run with a smaller one (--lr "
        f"{plan.learning_rate / 10:g}), and check that the inputs are normalised"
    )


def _batches(rows: Rows, size: int) -> Iterator[Rows]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
