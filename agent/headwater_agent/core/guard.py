"""The owner's privacy floor as the daemon keeps it: the child that trains opens graphs, and may be anybody's then."""

from dataclasses import dataclass, replace

from headwater_wire.messages import Metrics, Plan

from headwater_agent.core.policy import Floor, refusal
from headwater_agent.core.shares import shares, steps_of

UNTOLD = "its owner keeps to the box what training says there (policy.report_metrics): why, stands in the box's log"


def examples_objection(dataset: str, count: int, plan: Plan, floor: Floor) -> str:
    """Say why the delta, or a figure that is reported, would come from fewer examples than allowed; else nothing."""
    trained, scored = shares(count, plan.holdout)
    for examples, what, matters in (
        (count, "there are", True),
        (trained, "the task would train on", plan.train),
        (scored, "the task would score", floor.report_metrics and scored > 0),
    ):
        if matters and examples < floor.min_examples:
            return refusal("min_examples", f"is {floor.min_examples}, and of dataset {dataset!r} {what} {examples}")
    return ""


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be told of one training. `count` is the box's own survey's; None: it has none, and no floor."""

    floor: Floor
    plan: Plan
    count: int | None

    def objection(self, dataset: str) -> str:
        """Say why too few examples would be behind the training; nothing, if enough are."""
        return "" if self.count is None else examples_objection(dataset, self.count, self.plan, self.floor)

    def step(self, step: int, steps: int, loss: float) -> tuple[int, int, float]:
        """Leave of (step, steps, loss) what may be told: under a floor no loss, which may be one example's."""
        if self.floor == Floor() or self.count is None:
            return step, steps, loss
        most = 1 + steps_of(self.count, self.plan)
        return max(0, min(step, most)), most, 0.0

    def told(self, metrics: Metrics, seconds: float) -> Metrics:
        """Leave of the metrics what the floor lets go, and no more examples than there are.

        Without metrics that is what a merge weighs by and what a person's patience needs, both as the daemon knows it.
        """
        trained, scored = (None, None) if self.count is None else shares(self.count, self.plan.holdout)
        if not self.floor.report_metrics:
            return Metrics(examples=(trained or 0) if self.plan.train else 0, seconds=seconds)
        if trained is None or scored is None:
            return metrics
        return replace(
            metrics,
            examples=max(0, min(metrics.examples, trained)),
            holdout_examples=max(0, min(metrics.holdout_examples, scored)),
        )

    def words(self, reason: str) -> str:
        """Leave of what the child says in words what may be told."""
        return reason if self.floor.report_metrics else UNTOLD
