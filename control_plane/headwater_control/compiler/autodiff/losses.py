"""The losses: the mean over a batch, its slope with respect to the output it reads, and what else is counted.

The formulas are PyTorch's, for the same names and options: a mean over examples, weighted where classes have weights.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from headwater_wire.graphs import LABEL
from headwater_wire.manifest import Loss

from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.types import TensorType

_LEAST = 1e-12  # far below any sum of weights, and far from what a learning rate divided by it would overflow


@dataclass(frozen=True, slots=True)
class Objective:
    """Names of scalars (float32, of the batch), and of the slope."""

    loss: str  # the mean
    slope: str  # d loss / d output, times the scale
    weight: str  # what the mean is divided by: the means of two batches, so weighted, make the mean of both
    correct: str = ""  # examples that are right; a share of one whose parts are judged one by one
    absolute_error: str = ""  # summed over the examples, each with the mean of its numbers


def label_type(loss: Loss, output: TensorType) -> TensorType | None:
    """Tell what the label's tensor is; None: the loss needs none."""
    if loss.label is None:
        return None
    return TensorType(np.dtype(loss.label.dtype), (output.dims[0], *loss.label.shape))


def objective(loss: Loss, g: Emitter, scale: str) -> Objective:
    """Emit a loss over the graph's output and the label, and its slope times the scalar `scale`."""
    match loss.kind:
        case "cross_entropy":
            return _cross_entropy(loss, g, scale)
        case "bce_with_logits":
            return _bce_with_logits(loss.output, g, scale)
        case "mse" | "l1" | "huber":
            return _regression(loss, g, scale)
        case _:
            return _own_output(loss.output, g, scale)


def _cross_entropy(loss: Loss, g: Emitter, scale: str) -> Objective:
    """−Σ q·log p / Σ w over the batch, with q = w ∘ ((1 − ε)·onehot + ε/C); the slope is (Σq)·p − q.

    Label smoothing as in Szegedy et al., Rethinking the Inception Architecture (2016), section 7.
    """
    scores = loss.output
    kind = g.type(scores)
    axis = kind.axis(loss.class_axis)
    log_p = g.op("LogSoftmax", scores, axis=axis)
    shape = [loss.classes if place == axis else 1 for place in range(kind.rank)]
    classes = g.constant(np.arange(loss.classes, dtype=np.int64).reshape(shape))
    onehot = g.mask(g.op("Equal", g.unsqueeze(LABEL, [axis]), classes), scores)
    target, total = _target(loss, g, onehot, axis, shape)
    plain = target == onehot
    mean = g.div(_sum(g, g.neg(g.mul(target, log_p))), total)
    p = g.op("Exp", log_p)
    weight = p if plain else g.mul(p, g.reduce_sum(target, [axis], keepdims=True))
    slope = g.mul(g.sub(weight, target), g.div(scale, total))
    return Objective(mean, slope, total, correct=_classified(loss, g, axis))


def _target(loss: Loss, g: Emitter, onehot: str, axis: int, shape: list[int]) -> tuple[str, str]:
    """Give q, and Σ w: the number of labels where classes weigh the same and none is ignored."""
    scores, target = loss.output, onehot
    if not loss.weights and loss.ignore is None and not loss.smoothing:
        return onehot, _count(g, LABEL, scores)
    if loss.smoothing:
        target = g.mul(onehot, g.number(1 - loss.smoothing, scores))
        target = g.add(target, g.number(loss.smoothing / loss.classes, scores))
    if loss.weights:
        weights = g.constant(np.array(loss.weights, g.type(scores).dtype).reshape(shape))
        target, onehot = g.mul(target, weights), g.mul(onehot, weights)
    if loss.ignore is not None:
        counts = g.unsqueeze(_counts(loss, g), [axis])
        target, onehot = g.mul(target, counts), g.mul(onehot, counts)
    total = _sum(g, onehot) if loss.weights or loss.ignore is not None else _count(g, LABEL, scores)
    return target, g.op("Max", total, g.number(_LEAST, scores))  # all ignored: 0, not NaN


def _counts(loss: Loss, g: Emitter) -> str:
    """1 where a label counts, 0 where it is the one to ignore."""
    assert loss.ignore is not None
    ignored = g.op("Equal", LABEL, g.constant(np.array(loss.ignore, np.int64)))
    return g.mask(g.op("Not", ignored), loss.output)


def _classified(loss: Loss, g: Emitter, axis: int) -> str:
    """Count examples whose largest score is the label's; of parts (pixels, tokens), the share that counts."""
    scores = loss.output
    right = g.mask(g.op("Equal", g.op("ArgMax", scores, axis=axis, keepdims=0), LABEL), scores)
    if loss.ignore is not None:
        counts = _counts(loss, g)
        counted = g.op("Max", _sum(g, counts), g.number(1, scores))
        return g.mul(g.div(_sum(g, g.mul(right, counts)), counted), _examples(g, scores))
    parts = g.type(scores).elements // loss.classes
    return g.mul(_sum(g, right), g.number(1 / parts, scores)) if parts > 1 else _sum(g, right)


def _bce_with_logits(scores: str, g: Emitter, scale: str) -> Objective:
    """max(x, 0) − x·y + log(1 + e^−|x|), whose slope is σ(x) − y."""
    zero, one = g.number(0, scores), g.number(1, scores)
    tail = g.op("Log", g.add(g.op("Exp", g.neg(g.op("Abs", scores))), one))
    each = g.add(g.sub(g.op("Max", scores, zero), g.mul(scores, LABEL)), tail)
    count = _count(g, scores, scores)
    slope = g.mul(g.sub(g.op("Sigmoid", scores), LABEL), g.div(scale, count))
    half = g.number(0.5, scores)
    agree = g.op("Equal", g.op("Greater", scores, zero), g.op("Greater", LABEL, half))
    return Objective(g.div(_sum(g, each), count), slope, count, correct=_per_example(g, scores, g.mask(agree, scores)))


def _regression(loss: Loss, g: Emitter, scale: str) -> Objective:
    """With e = x − y, the mean of e², of |e|, or of Huber's e²/2 near 0 and δ·(|e| − δ/2) beyond δ (1964)."""
    scores = loss.output
    error = g.sub(scores, LABEL)
    size = g.op("Abs", error)
    match loss.kind:
        case "mse":
            each, slope = g.mul(error, error), g.mul(error, g.number(2, scores))
        case "l1":
            each, slope = size, g.op("Sign", error)
        case _:
            delta, half = g.number(loss.delta, scores), g.number(0.5, scores)
            near = g.op("Min", size, delta)
            each = g.mul(near, g.sub(size, g.mul(near, half)))
            slope = g.op("Clip", error, g.number(-loss.delta, scores), delta)
    count = _count(g, scores, scores)
    return Objective(
        g.div(_sum(g, each), count),
        g.mul(slope, g.div(scale, count)),
        count,
        absolute_error=_per_example(g, scores, size),
    )


def _own_output(output: str, g: Emitter, scale: str) -> Objective:
    """The mean of an output that is the loss itself."""
    count = _count(g, output, output)
    slope = g.op("Expand", g.div(scale, count), g.shape(output))
    return Objective(g.div(_sum(g, output), count), slope, count)


def _sum(g: Emitter, values: str) -> str:
    """Add up all numbers, to a scalar."""
    return g.op("ReduceSum", values, keepdims=0)


def _count(g: Emitter, values: str, like: str) -> str:
    """Count the numbers of a tensor, as a float."""
    return g.mask(g.op("Size", values), like)


def _examples(g: Emitter, scores: str) -> str:
    """Count the examples of the batch, as a float scalar."""
    first = g.op("Gather", g.op("Shape", scores), g.constant(np.array(0, np.int64)))
    return g.op("Cast", first, to=onnx.helper.np_dtype_to_tensor_dtype(g.type(scores).dtype))


def _per_example(g: Emitter, scores: str, values: str) -> str:
    """Add up the examples' means."""
    return g.mul(_sum(g, values), g.number(1 / g.type(scores).elements, scores))
