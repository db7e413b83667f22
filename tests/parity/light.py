"""The networks that come inside the onnx package without weights: new weights for them, and their loss in float64.

The loss is computed from the file as it is, node by node, by PyTorch's functions: nothing of ours has a part in it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from headwater_wire.manifest import Parameter
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (as everybody calls it)

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
_STATISTICS = {3: 0.0, 4: 1.0}  # of BatchNormalization, by place: mean and variance
Vector = npt.NDArray[np.float32]
Attributes = Mapping[str, Any]


def read(name: str) -> onnx.ModelProto:
    """Read a network, and let its BatchNormalizations begin with mean 0 and variance 1."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    filled = {node.output[0]: node for node in model.graph.node if node.op_type == "ConstantOfShape"}
    kept = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for place, value in _STATISTICS.items() if node.op_type == "BatchNormalization" else ():
            statistic = node.input[place]
            if statistic in filled:
                filled[statistic].attribute[0].t.float_data[0] = value
            else:
                values = np.full(tuple(kept[statistic].dims), value, np.float32)
                kept[statistic].CopyFrom(numpy_helper.from_array(values, statistic))
    return model


def draw(model: onnx.ModelProto, parameters: Sequence[Parameter]) -> Vector:
    """Draw weights from He's normal distribution (2015); what scales begins as 1, what is added as 0."""
    random, scales = np.random.default_rng(0), _scales(model)
    drawn = []
    for parameter in parameters:
        if len(parameter.shape) > 1:
            deviation = np.sqrt(2 / np.prod(parameter.shape[1:]))
            drawn.append(random.standard_normal(parameter.elements, np.float32) * np.float32(deviation))
        else:
            drawn.append(np.full(parameter.elements, parameter.name in scales, np.float32))
    return np.concatenate(drawn)


def _scales(model: onnx.ModelProto) -> set[str]:
    """Name what BatchNormalization multiplies by, and what a Mul does, behind an Unsqueeze."""
    nodes = model.graph.node
    shown = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Unsqueeze"}
    factors = {shown.get(name, "") for node in nodes if node.op_type == "Mul" for name in node.input}
    return factors | {node.input[1] for node in nodes if node.op_type == "BatchNormalization"}


def loss(
    model: onnx.ModelProto, parameter: Callable[[str], Tensor | None], example: Tensor, label: Tensor, output: str
) -> float:
    """Give the cross-entropy of one example in float64; `parameter` gives the values of those that train."""
    values: dict[str, Tensor] = {"": torch.empty(0)}
    for tensor in model.graph.initializer:
        constant = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        values[tensor.name] = constant.double() if constant.is_floating_point() else constant
    values |= {value.name: example for value in model.graph.input if value.name not in values}
    for node in model.graph.node:
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        made = parameter(node.output[0])
        if made is None:
            inputs = [given if (given := parameter(name)) is not None else values[name] for name in node.input]
            made = _OPERATORS[node.op_type](attributes, *inputs)
        values[node.output[0]] = made
    return float(F.cross_entropy(values[output], label))


# -- the operators that are in these networks, by opset 9


def _constant(a: Attributes, shape: Tensor) -> Tensor:
    return torch.full(shape.tolist(), float(numpy_helper.to_array(a["value"])[0]), dtype=torch.float64)


def _padded(a: Attributes, x: Tensor, value: float) -> Tensor:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    return F.pad(x, (left, right, top, bottom), value=value)


def _conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    strides, dilations = a.get("strides", 1), a.get("dilations", 1)
    return F.conv2d(_padded(a, x, 0), w, b, strides, dilation=dilations, groups=a.get("group", 1))


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    return F.max_pool2d(_padded(a, x, -torch.inf), a["kernel_shape"], a["strides"])


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    """Average what is inside of the image."""
    sums, inside = (F.avg_pool2d(_padded(a, y, 0), a["kernel_shape"], a["strides"]) for y in (x, torch.ones_like(x)))
    return sums / inside


def _batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


def _gemm(a: Attributes, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    assert dict(a) == {"transB": 1}
    return x @ w.T + b


def _unsqueeze(a: Attributes, x: Tensor) -> Tensor:
    for axis in a["axes"]:
        x = x.unsqueeze(axis)
    return x


def _softmax(a: Attributes, x: Tensor) -> Tensor:
    return torch.softmax(x.flatten(1), 1).view_as(x)


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concat": lambda a, *x: torch.cat(x, a["axis"]),
    "ConstantOfShape": _constant,
    "Conv": _conv,
    "Dropout": lambda a, x: x,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "LRN": lambda a, x: F.local_response_norm(x, a["size"], a["alpha"], a["beta"], a["bias"]),
    "MaxPool": _max_pool,
    "Mul": lambda a, x, y: x * y,
    "Relu": lambda a, x: F.relu(x),
    "Reshape": lambda a, x, shape: x.reshape(shape.tolist()),
    "Softmax": _softmax,
    "Sum": lambda a, *x: sum(x[1:], x[0]),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}
