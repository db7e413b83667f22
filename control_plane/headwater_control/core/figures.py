"""A round in numbers, added up from what its tasks reported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from headwater_control.core.runs import Round, TaskRecord, TaskState


@dataclass(frozen=True, slots=True)
class RoundMetrics:
    """A round in numbers. Holdout figures score the round's *base* version; None: nobody reported any."""

    reported: int
    examples: int
    train_loss: float | None  # weighted by examples
    holdout_examples: int
    holdout_loss: float | None  # weighted by held-out examples
    holdout_accuracy: float | None
    holdout_mean_absolute_error: float | None
    bytes_up: int
    bytes_down: int
    late: int  # deltas that came after it had closed
    selecting_s: float | None  # from opening to asking
    collecting_s: float | None  # from asking to the freeze
    merging_s: float | None  # from the freeze to the commit


def figures(record: Round, tasks: Sequence[TaskRecord]) -> RoundMetrics:
    """Add a round up."""
    reports = [task.metrics for task in tasks if task.state is TaskState.SUCCEEDED and task.metrics]
    examples = sum(report.examples for report in reports)
    asked_at = min((task.opened_at for task in tasks), default=None)
    ended_at = record.closed_at if record.merged else None
    return RoundMetrics(
        reported=len(reports),
        examples=examples,
        train_loss=_mean((report.train_loss, report.examples) for report in reports),
        holdout_examples=sum(report.holdout_examples for report in reports),
        holdout_loss=_mean((report.holdout_loss, report.holdout_examples) for report in reports),
        holdout_accuracy=_per_example((report.holdout_correct, report.holdout_examples) for report in reports),
        holdout_mean_absolute_error=_per_example(
            (report.holdout_absolute_error, report.holdout_examples) for report in reports
        ),
        bytes_up=sum(task.bytes_up for task in tasks),
        bytes_down=sum(task.bytes_down for task in tasks),
        late=sum(task.late_at is not None for task in tasks),
        selecting_s=_seconds(record.opened_at, asked_at),
        collecting_s=_seconds(asked_at, record.collected_at),
        merging_s=_seconds(record.collected_at, ended_at),
    )


def _mean(weighted: Iterable[tuple[float, int]]) -> float | None:
    pairs = [(value, weight) for value, weight in weighted if weight]
    return sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs) if pairs else None


def _per_example(sums: Iterable[tuple[float | None, int]]) -> float | None:
    told = [(total, examples) for total, examples in sums if total is not None and examples]
    return sum(total for total, _ in told) / sum(examples for _, examples in told) if told else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None
