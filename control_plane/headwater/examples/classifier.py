"""Small classifiers as ONNX graphs, drawn from a fixed seed: made node by node, without a training framework."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 17
_IR = 8


@dataclass(slots=True)
class _Net:
    """A graph under construction: each method adds a layer behind the last one."""

    last: str
    random: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, operator: str, name: str, *more: str, **attributes: object) -> None:
        self.nodes.append(helper.make_node(operator, [self.last, *more], [name], name=name, **attributes))
        self.last = name

    def constant(self, name: str, values: np.ndarray) -> str:
        self.tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def glorot(self, name: str, shape: tuple[int, ...], fan_in: int, fan_out: int) -> str:
        """Draw from U(−a, a), a = √(6 / (fan in + fan out)): Glorot and Bengio 2010."""
        bound = sqrt(6 / (fan_in + fan_out))
        return self.constant(name, self.random.uniform(-bound, bound, shape))

    def conv(self, name: str, channels_in: int, channels_out: int, kernel: int) -> None:
        """Add a same-size convolution, Relu and a 2×2 pool."""
        area = kernel * kernel
        weight = self.glorot(
            f"{name}.weight", (channels_out, channels_in, kernel, kernel), channels_in * area, channels_out * area
        )
        bias = self.constant(f"{name}.bias", np.zeros(channels_out))
        self.op("Conv", name, weight, bias, kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4)
        self.op("Relu", f"{name}.relu")
        self.op("MaxPool", f"{name}.pool", kernel_shape=[2, 2], strides=[2, 2])

    def dense(self, name: str, units_in: int, units_out: int) -> None:
        """Add a fully connected layer."""
        weight = self.glorot(f"{name}.weight", (units_out, units_in), units_in, units_out)
        bias = self.constant(f"{name}.bias", np.zeros(units_out))
        self.op("Gemm", name, weight, bias, transB=1)


def digits_classifier(seed: int = 0) -> onnx.ModelProto:
    """Make a convolutional net: "image" float32 [batch, 1, 8, 8] to "probabilities" [batch, 10]; 13,706 parameters."""
    net = _Net("image", np.random.default_rng(seed))
    net.conv("conv1", 1, 16, 3)
    net.conv("conv2", 16, 32, 3)
    net.op("Flatten", "flat")
    net.dense("hidden", 32 * 2 * 2, 64)
    net.op("Relu", "hidden.relu")
    net.dense("scores", 64, 10)
    return _model("digits", net, (1, 8, 8), 10)


def mnist_classifier(seed: int = 0) -> onnx.ModelProto:
    """Make a convolutional net: "image" float32 [batch, 1, 28, 28] to "probabilities" [batch, 10]."""
    net = _Net("image", np.random.default_rng(seed))
    net.conv("conv1", 1, 16, 5)
    net.conv("conv2", 16, 32, 5)
    net.op("Flatten", "flat")
    net.dense("hidden", 32 * 7 * 7, 64)
    net.op("Relu", "hidden.relu")
    net.dense("scores", 64, 10)
    return _model("mnist", net, (1, 28, 28), 10)


def table_classifier(
    features: int,
    classes: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    hidden: int = 32,
    seed: int = 0,
) -> onnx.ModelProto:
    """Make a net of one hidden layer: "features" float32 [batch, features] to "probabilities" [batch, classes].

    With `mean` and `std` (one per feature) it first puts the features on one scale, so that devices feed raw values;
    those two are constants "mean" and "std": import it with `--trainable 'layer*'`.
    """
    net = _Net("features", np.random.default_rng(seed))
    if mean is not None:
        net.op("Sub", "centred", net.constant("mean", np.asarray(mean)))
    if std is not None:
        net.op("Div", "scaled", net.constant("std", np.asarray(std)))
    net.dense("layer1", features, hidden)
    net.op("Relu", "layer1.relu")
    net.dense("layer2", hidden, classes)
    return _model("table", net, (features,), classes)


def _model(name: str, net: _Net, shape: tuple[int, ...], classes: int) -> onnx.ModelProto:
    source = net.nodes[0].input[0]
    net.op("Softmax", "probabilities", axis=-1)
    graph = helper.make_graph(
        net.nodes,
        name,
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])],
        net.tensors,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="headwater"
    )
    onnx.checker.check_model(model, full_check=True)
    return model
