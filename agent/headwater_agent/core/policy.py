"""What the box's owner lets a task do here, and what of it a task would break."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from headwater_wire.errors import Malformed
from headwater_wire.ids import ModelName, VersionId, check_model_name
from headwater_wire.messages import Deployment, Task

MB = 1_000_000
_VERSION = re.compile(r"(?P<model>.+)-[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Floor:
    """The least privacy of what leaves the box, whatever a task asks for; 0: as it comes.

    `min_examples` is the fewest that a delta or a figure may come from. The delta is clipped to the L2 norm
    `clip_norm`, and Gaussian noise of standard deviation `noise_multiplier` · `clip_norm` is added to each number.
    """

    min_examples: int = 0
    clip_norm: float = 0.0
    noise_multiplier: float = 0.0
    report_metrics: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What tasks on a dataset may do. A number that is 0 sets no limit."""

    models: tuple[str, ...] | None = None  # None: any
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()  # each of these a run must have, with one of the values
    max_epochs: int = 0
    max_batch_size: int = 0
    max_minutes: float = 0.0
    max_mb_up: float = 0.0
    floor: Floor = field(default_factory=Floor)


@dataclass(frozen=True, slots=True)
class Policy:
    """[policy]: what holds for the box, for all datasets, and instead of that for some."""

    allow_datasets: tuple[str, ...] | None = None  # None: all that are declared
    memory_mb: int = 0  # of the training child; 0: no limit
    mb_up_a_day: float = 0.0  # deltas of all datasets together, by day (UTC) of the server's time; 0: no limit
    general: Limits = field(default_factory=Limits)
    datasets: tuple[tuple[str, Limits], ...] = ()

    def lets_use(self, dataset: str) -> bool:
        """Say whether tasks may use a dataset."""
        return self.allow_datasets is None or dataset in self.allow_datasets

    def limits(self, dataset: str) -> Limits:
        """Give what holds for a dataset."""
        return dict(self.datasets).get(dataset, self.general)


def objection(policy: Policy, task: Task, *, examples: int | None, up_bytes: int) -> str:
    """Say what of the owner's policy refuses `task`, naming the setting; nothing, if it is within every limit.

    `examples` are the dataset's, None if they were not counted yet; `up_bytes` is what goes up today without this task.
    """
    return next(_objections(policy, task, examples, up_bytes), "")


def bundle_objection(limits: Limits, model: ModelName) -> str:
    """Say what refuses a bundle that turns out to be of `model`, whatever the task called it."""
    if limits.models is not None and model not in limits.models:
        return refusal("models", f"does not name {model!r}, of which the task's bundle is")
    return ""


def deployment_objection(policy: Policy, wanted: Deployment) -> str:
    """Say what refuses to install a model; nothing, if the owner lets any model in, or this one."""
    models = policy.general.models
    if models is not None and wanted.model not in models:
        return refusal("models", f"does not name {wanted.model!r}, of which {wanted.version!r} is to be installed")
    return ""


def delta_objection(limits: Limits, size_bytes: int) -> str:
    """Say what refuses to send a delta of this size."""
    if limits.max_mb_up and size_bytes > limits.max_mb_up * MB:
        return refusal("max_mb_up", f"is {limits.max_mb_up:g}, and the delta has {size_bytes / MB:.3f} MB")
    return ""


def refusal(setting: str, why: str) -> str:
    """Word a refusal."""
    return f"this box's owner does not allow it: policy.{setting} {why}"


def model_of(version: VersionId) -> ModelName | None:
    """Read the model's name out of a version's id; None if it is not spelled as one (`ids.version_id`)."""
    spelled = _VERSION.fullmatch(version)
    try:
        return check_model_name(spelled["model"]) if spelled else None
    except Malformed:
        return None


def _objections(policy: Policy, task: Task, examples: int | None, up_bytes: int) -> Iterator[str]:
    limits = policy.limits(task.dataset)
    if not policy.lets_use(task.dataset):
        yield refusal("allow_datasets", f"does not name {task.dataset!r}")
    yield from _of_origin(limits, task)
    if examples is not None and examples < limits.floor.min_examples:
        yield refusal(
            "min_examples", f"is {limits.floor.min_examples}, and dataset {task.dataset!r} has {examples} examples"
        )
    if task.plan.train:
        yield from _of_training(limits, task)
        if problem := delta_objection(limits, task.base.size):  # a delta is as large as its base, but for the headers
            yield problem
        if policy.mb_up_a_day and up_bytes + task.base.size > policy.mb_up_a_day * MB:
            yield refusal(
                "mb_up_a_day",
                f"is {policy.mb_up_a_day:g}, and with {task.base.size / MB:.3f} MB of this task "
                f"it would be {(up_bytes + task.base.size) / MB:.3f} today",
            )


def _of_origin(limits: Limits, task: Task) -> Iterator[str]:
    if limits.models is not None and model_of(task.base_version) not in limits.models:
        yield refusal("models", f"names no model that {task.base_version!r} is a version of")
    labels = dict(task.labels)
    for key, values in limits.labels:
        if labels.get(key) not in values:
            has = f"{key}={labels[key]}" if key in labels else f"no label {key}"
            yield refusal(f"labels.{key}", f"wants {' or '.join(values)}, and the run has {has}")


def _of_training(limits: Limits, task: Task) -> Iterator[str]:
    plan = task.plan
    if limits.max_epochs and plan.epochs > limits.max_epochs:
        yield refusal("max_epochs", f"is {limits.max_epochs}, and the task asks for {plan.epochs}")
    if limits.max_batch_size and plan.batch_size > limits.max_batch_size:
        yield refusal("max_batch_size", f"is {limits.max_batch_size}, and the task asks for {plan.batch_size}")
