"""What the daemon and its training child say to each other: one JSON object a line, on the child's stdin and stdout.

No numpy here: the daemon imports this module.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from headwater_wire.errors import Malformed
from headwater_wire.ids import Digest, check_digest
from headwater_wire.messages import Blob, Column, DatasetCard, Metrics, Plan

from headwater_agent.core.policy import Floor


@dataclass(frozen=True, slots=True)
class ColumnConfig:
    """Where one tensor of an example comes from. Values become (raw · scale − mean) / std, then `dtype`."""

    name: str  # the model input it feeds, or "label"
    source: tuple[str, ...]  # npz: one array; csv: the columns, in order; idx: one file
    dtype: str = "float32"
    shape: tuple[int, ...] | None = None  # of one example; None: as it comes
    scale: float = 1.0
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """A dataset as the box's owner declares it. For idx, `path` is a folder."""

    name: str
    format: str  # "npz", "csv" or "idx"
    path: str
    columns: tuple[ColumnConfig, ...]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Where a training leaves what it has reached, how often (0: not by that), and what of the disk is to stay free."""

    folder: str
    every_s: float = 60.0
    every_steps: int = 0
    keep_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Train:
    """Score the base version, train if the plan says so, write the delta to `delta_path`."""

    task: str
    manifest_path: str
    files: tuple[tuple[Digest, str], ...]  # of the blobs that the manifest names, those the engine needs
    base_path: str
    delta_path: str
    dataset: DatasetConfig
    plan: Plan
    floor: Floor = field(default_factory=Floor)  # with a clip_norm the delta is left plain, as f32, for `Protect`
    checkpoints: Checkpoints | None = None  # None: if it is cut short it begins anew
    max_minutes: float = 0.0  # that its trainings may take altogether, those that were cut short too; 0: any


@dataclass(frozen=True, slots=True)
class Inspect:
    """Read a dataset's schema and count."""

    dataset: DatasetConfig


@dataclass(frozen=True, slots=True)
class Check:
    """Run model.onnx on the reference inputs and compare with the reference outputs."""

    onnx_path: str
    reference_path: str
    tolerance: float


@dataclass(frozen=True, slots=True)
class Protect:
    """Clip and blur the plain delta at `delta_path` as the floor says, and write it, encoded, to `protected_path`.

    For a child that has opened no graph: whoever wrote the delta may have been taken over by one.
    """

    delta_path: str
    protected_path: str
    elements: int
    codec: str
    floor: Floor


Job = Train | Inspect | Check | Protect


@dataclass(frozen=True, slots=True)
class Stepped:
    """Progress, at most a few times a second."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True)
class Trained:
    """The end of a Train job. `delta` describes the file at delta_path; None if the plan only scores."""

    metrics: Metrics
    delta: Blob | None


@dataclass(frozen=True, slots=True)
class Inspected:
    """The end of an Inspect job; what is wrong with a dataset stands in the card."""

    card: DatasetCard


@dataclass(frozen=True, slots=True)
class Checked:
    """The end of a Check job: `problem` is empty if the outputs agree."""

    problem: str


@dataclass(frozen=True, slots=True)
class Protected:
    """The end of a Protect job. `delta` describes the file at protected_path."""

    delta: Blob


@dataclass(frozen=True, slots=True)
class Refused:
    """The end of any job that can't work here whatever is tried: wrong shapes, an empty dataset, a bad graph."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broke:
    """The end of any job that was tried and failed: a NaN loss, no memory."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end of a Train job that was asked to stop: the same job goes on from its checkpoint."""


Reply = Stepped | Trained | Inspected | Checked | Protected | Refused | Broke | Stopped

_TYPES = {kind.__name__: kind for kind in (*get_args(Job), *get_args(Reply))}


def dump(message: Job | Reply) -> bytes:
    """Encode one message as a line."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)}).encode() + b"\n"


def load(line: bytes) -> Job | Reply:
    """Decode one line; raise ValueError if it is none of ours."""
    try:
        tree: dict[str, Any] = json.loads(line)
        kind = _TYPES[tree.pop("kind")]
        match kind.__name__:
            case "Train":
                files = tuple((check_digest(digest), str(path)) for digest, path in tree["files"])
                tree |= {"files": files, "dataset": _dataset(tree["dataset"]), "plan": Plan(**tree["plan"])}
                tree["floor"] = Floor(**tree["floor"])
                kept = tree["checkpoints"]
                tree["checkpoints"] = None if kept is None else Checkpoints(**kept)
            case "Protect":
                tree |= {"floor": Floor(**tree["floor"]), "elements": int(tree["elements"])}
            case "Inspect":
                tree["dataset"] = _dataset(tree["dataset"])
            case "Stepped":
                tree |= {"step": int(tree["step"]), "steps": int(tree["steps"]), "loss": float(tree["loss"])}
            case "Trained":
                delta = tree["delta"]
                tree |= {"metrics": _metrics(tree["metrics"]), "delta": None if delta is None else _blob(delta)}
            case "Protected":
                tree["delta"] = _blob(tree["delta"])
            case "Inspected":
                card = tree["card"]
                columns = tuple(Column(c["name"], c["dtype"], tuple(c["shape"])) for c in card.pop("columns"))
                tree["card"] = DatasetCard(**card, columns=columns)
        message: Job | Reply = kind(**tree)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, Malformed) as error:
        raise ValueError(f"not a line of the training protocol: {line[:200]!r}") from error
    return message


def _blob(tree: dict[str, Any]) -> Blob:
    return Blob(check_digest(tree["digest"]), int(tree["size"]))


def _metrics(tree: dict[str, Any]) -> Metrics:
    """Read numbers that are some: the daemon calculates with them."""
    counts = {name: int(tree[name]) for name in ("examples", "holdout_examples")}
    maybe = {
        name: None if tree[name] is None else float(tree[name])
        for name in ("holdout_correct", "holdout_absolute_error")
    }
    numbers = {name: float(tree[name]) for name in ("train_loss", "holdout_loss", "seconds")}
    return Metrics(**{**tree, **counts, **maybe, **numbers})


def _dataset(tree: dict[str, Any]) -> DatasetConfig:
    columns = tuple(
        ColumnConfig(
            **{
                **column,
                "source": tuple(column["source"]),
                "shape": None if column["shape"] is None else tuple(column["shape"]),
            }
        )
        for column in tree["columns"]
    )
    return DatasetConfig(tree["name"], tree["format"], tree["path"], columns)
