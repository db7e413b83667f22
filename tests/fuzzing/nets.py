"""Random models that are valid: small graphs of differentiable operators, in the spelling of a random opset."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25)


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph: its shape is [batch, *dims]."""

    name: str
    dims: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Count the axes, the batch's too."""
        return 1 + len(self.dims)


class Net:
    """A graph under construction: each method adds nodes, and gives what they make."""

    def __init__(self, source: random.Random, opset: int) -> None:
        self.r = source
        self.opset = opset
        self.numbers = np.random.default_rng(source.getrandbits(32))
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node, and name its outputs."""
        names = [f"t{len(self.nodes)}.{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        return names

    def op(self, kind: str, inputs: Sequence[str], dims: Sequence[int], **attributes: Any) -> Value:
        """Add a node of one output."""
        return Value(self.node(kind, inputs, **attributes)[0], tuple(dims))

    def constant(self, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant, as an initializer or as a node."""
        name = f"c{len(self.nodes)}.{len(self.tensors)}"
        tensor = numpy_helper.from_array(np.asarray(values, dtype), name)
        if self.r.random() < 0.2:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.tensors.append(tensor)
        return name

    def weight(self, *dims: int, fan: int = 1) -> str:
        """Add a parameter, scaled by how many numbers it is summed over with."""
        return self.constant(self.numbers.standard_normal(dims) / sqrt(max(1, fan)))

    def integers(self, values: Sequence[int]) -> str:
        """Add a list of whole numbers, such as axes."""
        return self.constant(values, np.int64)

    def along(self, kind: str, v: Value, axes: Sequence[int], dims: Sequence[int], since: int, **more: Any) -> Value:
        """Add a node whose axes are an attribute before an opset, and an input from it on."""
        if self.opset < since:
            return self.op(kind, [v.name], dims, axes=list(axes), **more)
        return self.op(kind, [v.name, self.integers(axes)], dims, **more)

    def axis(self, v: Value) -> int:
        """Choose an axis behind the batch's, counted from either end."""
        axis = self.r.randint(1, v.rank - 1)
        return axis if self.opset < 11 or self.r.random() < 0.5 else axis - v.rank

    def flat(self, v: Value) -> Value:
        """Bring a tensor to [batch, numbers]."""
        if len(v.dims) == 1:
            return v
        size = prod(v.dims)
        if self.r.random() < 0.5:
            return self.op("Flatten", [v.name], [size], axis=1)
        return self.op("Reshape", [v.name, self.integers([0, -1] if self.r.random() < 0.5 else [-1, size])], [size])

    def positive(self, v: Value) -> Value:
        """Bring a tensor above a half, smoothly."""
        soft = self.op("Softplus", [v.name], v.dims)
        return self.op("Add", [soft.name, self.constant(0.5)], v.dims)

    def bounded(self, v: Value) -> Value:
        """Bring a tensor between −1 and 1."""
        return self.op("Tanh", [v.name], v.dims)


Layer = Callable[[Net, Value, list[Value]], Value | None]  # (graph, input, all there is): None: it does not fit


def random_model(source: random.Random, layers: Sequence[Layer]) -> onnx.ModelProto:
    """Make a model of one or two inputs and one or more outputs, the last of which is "y" [batch, 2 to 4]."""
    net = Net(source, source.choice(OPSETS))
    batch = source.choice(("batch", "N", None, 2, 3))
    dims = source.choice(((3,), (5,), (4, 3), (2, 6), (2, 5, 5), (4, 4, 6), (3, 6, 6), (2, 3, 3, 4)))
    pool = [Value("x", dims)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *dims])]
    if source.random() < 0.2:
        inputs.append(helper.make_tensor_value_info("ids", TensorProto.INT64, [batch, 3]))
        pool.append(net.op("Gather", [net.weight(4, 2), "ids"], [3, 2]))
    for _ in range(source.randint(1, 9)):
        value = pool[-1] if source.random() < 0.75 else source.choice(pool)
        made = source.choice(layers)(net, value, pool)
        if made is not None and 0 < prod(made.dims) <= 600:
            pool.append(made)
    outputs = [_head(net, pool[-1])]
    for value in source.sample(pool[1:], min(len(pool) - 1, source.choice((0, 0, 0, 1, 2)))):
        outputs.insert(0, Value(net.node("Identity", [value.name])[0], value.dims))
    if _ir(net.opset) < 4:  # they had to be inputs too, then
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in net.tensors]
    graph = helper.make_graph(
        net.nodes,
        "random",
        inputs,
        [helper.make_tensor_value_info(value.name, TensorProto.FLOAT, [batch, *value.dims]) for value in outputs],
        net.tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", net.opset)], ir_version=_ir(net.opset))


def _head(net: Net, last: Value) -> Value:
    """End in a layer that makes a few numbers of an example."""
    flat = net.flat(last)
    (size,), made = flat.dims, net.r.randint(2, 4)
    net.op("MatMul", [flat.name, net.weight(size, made, fan=size)], [made])
    net.nodes[-1].output[0] = "y"
    return Value("y", (made,))


def _ir(opset: int) -> int:
    return 3 if opset < 9 else 8 if opset < 21 else 10
