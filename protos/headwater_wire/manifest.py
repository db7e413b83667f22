"""The bundle's manifest: what a device must know of a model to train it. JSON, content-addressed, no numpy."""

import json
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from headwater_wire.errors import Malformed
from headwater_wire.ids import Digest, ModelName, check_digest, check_model_name
from headwater_wire.messages import Blob

FORMAT = "headwater-bundle/2"
LOSSES = ("cross_entropy", "bce_with_logits", "mse", "l1", "huber", "output")
MAX_AXES = 32
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A graph input or output, without its leading, dynamic batch axis."""

    name: str
    dtype: str  # as numpy spells it
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A trainable float32 parameter and its place in the flat vector, in elements."""

    name: str
    shape: tuple[int, ...]
    offset: int
    statistic: bool = False  # a running one: it follows the batches instead of descending, and has no optimizer state

    @property
    def elements(self) -> int:
        """Count its numbers."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Loss:
    """What training minimises: `kind` (one of LOSSES) over the graph's `output` and the label column."""

    kind: str
    output: str
    label: TensorSpec | None  # of one example's label, whose name is always "label"; None: the loss needs none
    classes: int = 0  # cross_entropy: labels are 0 to classes − 1
    class_axis: int = 1  # cross_entropy: which axis of the output the classes lie on, the batch's being 0
    smoothing: float = 0.0  # cross_entropy: the share of a label's weight that goes to all classes alike
    ignore: int | None = None  # cross_entropy: the label that does not count
    weights: tuple[float, ...] = ()  # cross_entropy: of each class
    delta: float = 1.0  # huber: from where on the loss is linear


@dataclass(frozen=True, slots=True)
class Step:
    """The graphs that a device trains with (`graphs.py` names their tensors), and what they want to be fed."""

    train: Blob
    evaluation: Blob
    accumulate: Blob  # with `update` instead of `train`, where memory is short
    update: Blob
    constants: Blob | None  # safetensors: frozen values that the graphs read and none of them holds
    optimizer: str
    slots: tuple[str, ...]  # of the optimizer's state: a vector of the parameters' length each
    scalars: tuple[str, ...]  # inputs of `train`

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """List what a device fetches to take steps."""
        return (self.train, self.evaluation, *self._constants)

    @property
    def frugal_blobs(self) -> tuple[Blob, ...]:
        """List what a device fetches to take them in little memory."""
        return (self.accumulate, self.update, self.evaluation, *self._constants)

    @property
    def _constants(self) -> tuple[Blob, ...]:
        return (self.constants,) if self.constants else ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle: the graph (with frozen and initial trainable values inside), what feeds it, what trains, and how."""

    model: ModelName
    graph: Blob
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    loss: Loss
    parameters: tuple[Parameter, ...]
    frozen: tuple[str, ...]
    step: Step
    coupled: bool = False  # examples of a batch change each other's answers: pieces of it make another step
    frozen_digests: tuple[Digest, ...] = ()  # SHA-256 of each frozen one's little-endian bytes, in the same order

    @property
    def elements(self) -> int:
        """Count the numbers of the flat vector: a version's, and a delta's."""
        return sum(parameter.elements for parameter in self.parameters)

    def to_bytes(self) -> bytes:
        """Serialize, the same bytes for the same manifest."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":")).encode()


def parse(data: bytes) -> Manifest:
    """Read a manifest; raise `Malformed` naming what is wrong with it."""
    try:
        tree = json.loads(data)
        if tree.pop("format") != FORMAT:
            raise Malformed(f"the bundle is not of format {FORMAT}: agent and control plane are of different versions")
        manifest = Manifest(
            model=check_model_name(str(tree["model"])),
            graph=_blob(tree["graph"]),
            step=_step(tree["step"]),
            inputs=tuple(_tensor(item) for item in tree["inputs"]),
            outputs=tuple(_tensor(item) for item in tree["outputs"]),
            loss=_loss(tree["loss"]),
            parameters=tuple(
                Parameter(str(item["name"]), _shape(item["shape"]), int(item["offset"]), bool(item["statistic"]))
                for item in tree["parameters"]
            ),
            frozen=tuple(str(name) for name in tree["frozen"]),
            coupled=bool(tree["coupled"]),
            frozen_digests=tuple(check_digest(str(digest)) for digest in tree["frozen_digests"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Malformed(f"the bundle's manifest can't be read: {error!r}") from error
    _check(manifest)
    return manifest


def _blob(tree: dict[str, Any]) -> Blob:
    return Blob(check_digest(tree["digest"]), int(tree["size"]))


def _step(tree: dict[str, Any]) -> Step:
    return Step(
        train=_blob(tree["train"]),
        evaluation=_blob(tree["evaluation"]),
        accumulate=_blob(tree["accumulate"]),
        update=_blob(tree["update"]),
        constants=None if tree["constants"] is None else _blob(tree["constants"]),
        optimizer=str(tree["optimizer"]),
        slots=tuple(str(slot) for slot in tree["slots"]),
        scalars=tuple(str(name) for name in tree["scalars"]),
    )


def _loss(tree: dict[str, Any]) -> Loss:
    return Loss(
        kind=str(tree["kind"]),
        output=str(tree["output"]),
        label=None if tree["label"] is None else _tensor(tree["label"]),
        classes=int(tree["classes"]),
        class_axis=int(tree["class_axis"]),
        smoothing=float(tree["smoothing"]),
        ignore=None if tree["ignore"] is None else int(tree["ignore"]),
        weights=tuple(float(weight) for weight in tree["weights"]),
        delta=float(tree["delta"]),
    )


def _tensor(tree: dict[str, Any]) -> TensorSpec:
    return TensorSpec(str(tree["name"]), str(tree["dtype"]), _shape(tree["shape"]))


def _shape(sizes: list[Any]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in sizes)
    if len(shape) > MAX_AXES or not all(0 <= size < 1 << 63 for size in shape):
        raise ValueError(f"a shape of {len(shape)} axes with a size that can't be, or of too many")
    return shape


def _check(manifest: Manifest) -> None:
    if manifest.loss.kind not in LOSSES:
        raise Malformed(f"the bundle wants the loss {manifest.loss.kind!r}; known are {', '.join(LOSSES)}")
    expected = 0
    for parameter in manifest.parameters:
        if parameter.offset != expected:
            raise Malformed(f"parameter {parameter.name!r} is at {parameter.offset}, not at {expected}")
        expected += parameter.elements
    if not expected:
        raise Malformed("the bundle has nothing to train")
