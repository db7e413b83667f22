"""Running statistics in a training step: BatchNormalization goes by the batch's, and its own follow them."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from headwater_wire import graphs
from onnx import helper, numpy_helper

from headwater_control.compiler.autodiff import node as nodes
from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.rules.reductions import count
from headwater_control.compiler.autodiff.types import TensorType
from headwater_control.compiler.constants import replace

_KIND = "BatchNormalization"
_MOMENTUM = 0.9  # the operator's default
_TOLD = ("mean", "variance")


def by_batch(
    forward: onnx.ModelProto, types: Mapping[str, TensorType], statistics: Collection[str]
) -> tuple[onnx.ModelProto, dict[str, TensorType]]:
    """Let each node that reads one of `statistics` go by its batch, and tell the batch's mean and variance.

    With momentum 0 these are what the operator gives as the next running ones: they are computed once, for both.
    """
    if not statistics:
        return forward, dict(types)
    made, known, written = onnx.ModelProto(), dict(types), []
    made.CopyFrom(forward)
    for node in made.graph.node:
        if node.op_type == _KIND and node.input[3] in statistics:
            told = [f"{graphs.PREFIX}{what}.{node.output[0]}" for what in _TOLD]
            known |= {name: types[place] for name, place in zip(told, node.input[3:5], strict=True)}
            written += _spoilable(made.graph, node, told)
            node.output.extend(told)
            kept = [item for item in node.attribute if item.name not in {"momentum", "training_mode"}]
            extra = [helper.make_attribute("training_mode", 1), helper.make_attribute("momentum", 0.0)]
            replace(node.attribute, [*kept, *extra])
        written.append(node)
    replace(made.graph.node, written)
    return made, known


def _spoilable(graph: onnx.GraphProto, node: onnx.NodeProto, told: Sequence[str]) -> list[onnx.NodeProto]:
    """Give the node running statistics of its own to read; with momentum 0 their values are all the same to it.

    onnxruntime writes the outputs over them, were they a parameter's own memory; and it would compute what two nodes
    were given once for both, if it were equal.
    """
    made = []
    for place, name in enumerate(told, 3):
        factor = numpy_helper.from_array(np.array(len(graph.initializer), np.float32), f"{name}.factor")
        graph.initializer.append(factor)
        made.append(helper.make_node("Mul", [node.input[place], factor.name], [f"{name}.spoilt"]))
        node.input[place] = f"{name}.spoilt"
    return made


def follow(g: Emitter, forward: onnx.ModelProto, statistics: Collection[str]) -> None:
    """Emit `new(statistic)` for each: momentum·running + (1 − momentum)·batch.

    The variance is taken with n − 1 beneath, as PyTorch and TensorFlow keep it; the operator itself says n. Of a single
    number (n = 1) nothing is learnt. A node that the model passes twice moves its statistics twice, in that order.
    """
    now = {name: name for name in statistics}
    for proto in forward.graph.node:
        if proto.op_type != _KIND or proto.input[3] not in statistics:
            continue
        n = nodes.read(proto, {})
        momentum = n.attribute("momentum", _MOMENTUM)
        mean, variance = (f"{graphs.PREFIX}{what}.{n.y}" for what in _TOLD)
        size, one = count(g, n.x, [0, *range(2, g.type(n.x).rank)]), g.number(1, n.x)
        variance = g.mul(variance, g.div(size, g.op("Max", g.sub(size, one), one)))
        for name, batch in ((n.inputs[3], mean), (n.inputs[4], variance)):
            kept, taken = (g.constant(np.array(share, np.float32)) for share in (momentum, 1 - momentum))
            moved = g.add(g.mul(now[name], kept), g.mul(batch, taken))
            now[name] = g.op("Where", g.op("Greater", size, one), moved, now[name])
    for name, value in now.items():
        g.rename(value, graphs.new(name))
