"""Low-rank adapters: y = x·(W + A·B), where W is frozen and only the thin A and B train.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), with α equal to the rank, so that nothing is
scaled. A begins random and B at 0: at first the model is what it was. An exported model has W + A·B in W's place.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt

import numpy as np
import onnx
from onnx import helper, numpy_helper

from headwater_control.compiler.constants import array, replace
from headwater_control.compiler.errors import CompileError

A, B = ".lora_a", ".lora_b"


def rank_of(selectors: Sequence[str]) -> int:
    """Read "lora:RANK" among the selectors; 0: it is not there. Raises `CompileError`."""
    wanted = [selector for selector in selectors if selector.startswith("lora:")]
    if not wanted:
        return 0
    if len(selectors) > 1:
        raise CompileError("lora:RANK trains adapters and freezes all else: give no other selector beside it")
    text = wanted[0].removeprefix("lora:")
    if not text.isdigit() or not 0 < int(text) <= 4096:
        raise CompileError(f"{wanted[0]!r}: the rank is a whole number from 1 on, as in lora:8")
    return int(text)


def add(graph: onnx.GraphProto, rank: int) -> None:
    """Put adapters beside every MatMul, Gemm and 1×1 Conv with a constant weight that is larger than they are."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    views = _views(graph)
    readings = Counter(
        views.get(name, name) for node in graph.node if node.output[0] not in views for name in node.input
    )
    random = np.random.default_rng(0)  # the same file gives the same bundle
    nodes, adapted = [], 0
    for node in graph.node:
        nodes.append(node)
        name = node.input[1] if len(node.input) > 1 else ""
        turned, weight = name in views, tensors.get(views.get(name, name))
        if weight is None or readings[weight.name] > 1 or not _fits(node, weight, turned, rank):
            continue
        inner, outer = _sides(node, weight, turned)
        base, thin = f"{node.output[0]}.without_lora", f"{node.output[0]}.lora"
        a = random.uniform(-1, 1, (inner, rank)).astype(np.float32) * np.float32(sqrt(3 / inner))
        nodes += _adapter(graph, node, weight.name, a, np.zeros((rank, outer), np.float32), base, thin)
        adapted += 1
    if not adapted:
        raise CompileError(f"lora:{rank}: the model has no MatMul, Gemm or 1×1 Conv whose weight is larger than that")
    replace(graph.node, nodes)


def fold(model: onnx.ModelProto) -> None:
    """Add each adapter's product to its weight, and take the adapter out."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = [name.removesuffix(A) for name in tensors if name.endswith(A) and name.removesuffix(A) + B in tensors]
    views = _views(graph)
    readers = {views.get(name, name): (node, name in views) for node in graph.node for name in node.input[1:2]}
    for name in weights:
        node, turned = readers[name]
        product = _product(node, turned, array(tensors[name + A]), array(tensors[name + B]))
        weight = array(tensors[name])
        tensors[name].CopyFrom(numpy_helper.from_array(weight + product.reshape(weight.shape), name))
        node.output[0] = node.output[0].removesuffix(".without_lora")
    adapters = {name + end for name in weights for end in (A, B)}
    replace(graph.node, [node for node in graph.node if not _belongs(node, weights)])
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name not in adapters])


def _views(graph: onnx.GraphProto) -> dict[str, str]:
    """Name what Transposes of matrices give, with what they turn: exporters put them before a weight's product."""
    turning = [node for node in graph.node if node.op_type == "Transpose" and [*_order(node)] in ([1, 0], [])]
    return {node.output[0]: node.input[0] for node in turning}


def _order(node: onnx.NodeProto) -> Sequence[int]:
    """Give a Transpose's permutation; none: it turns all axes around."""
    return next((item.ints for item in node.attribute if item.name == "perm"), ())


def _fits(node: onnx.NodeProto, weight: onnx.TensorProto, turned: bool, rank: int) -> bool:
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    match node.op_type:
        case "MatMul" if len(weight.dims) == 2:
            pass
        case "Gemm" if not attributes.get("transA", 0) and attributes.get("alpha", 1.0) == 1:
            pass
        case "Conv" if not turned and all(size == 1 for size in weight.dims[2:]) and attributes.get("group", 1) == 1:
            pass
        case _:
            return False
    inner, outer = _sides(node, weight, turned)
    return weight.data_type == onnx.TensorProto.FLOAT and rank * (inner + outer) < inner * outer


def _sides(node: onnx.NodeProto, weight: onnx.TensorProto, turned: bool) -> tuple[int, int]:
    """Give how many numbers the weight takes in, and how many it gives."""
    rows, columns = weight.dims[:2]
    return (columns, rows) if _outputs_first(node, turned) else (rows, columns)


def _outputs_first(node: onnx.NodeProto, turned: bool) -> bool:
    """Say whether the weight lies as [outputs, inputs]: as a Conv's, or turned by its node or before it."""
    by_node = any(item.name == "transB" and item.i for item in node.attribute)
    return node.op_type == "Conv" or by_node != turned


def _adapter(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: str, a: np.ndarray, b: np.ndarray, base: str, thin: str
) -> list[onnx.NodeProto]:
    """Make x·A·B and its sum with the node's output, which is renamed."""
    y = node.output[0]
    node.output[0] = base
    name = f"{node.name}.lora"
    if node.op_type == "Conv":
        around = [item for item in node.attribute if item.name in {"auto_pad", "pads", "strides"}]
        a, b = a.T[:, :, None, None], b.T[:, :, None, None]
        spatial = (1,) * (len(next(t for t in graph.initializer if t.name == weight).dims) - 2)
        a, b = a.reshape(*a.shape[:2], *spatial), b.reshape(*b.shape[:2], *spatial)
        first = helper.make_node("Conv", [node.input[0], weight + A], [f"{thin}.a"], name=f"{name}.a")
        first.attribute.extend(around)
        second = helper.make_node("Conv", [f"{thin}.a", weight + B], [thin], name=f"{name}.b")
    else:
        first = helper.make_node("MatMul", [node.input[0], weight + A], [f"{thin}.a"], name=f"{name}.a")
        second = helper.make_node("MatMul", [f"{thin}.a", weight + B], [thin], name=f"{name}.b")
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(a), weight + A))
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(b), weight + B))
    return [first, second, helper.make_node("Add", [base, thin], [y], name=f"{name}.add")]


def _product(node: onnx.NodeProto, turned: bool, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A·B as the weight lies."""
    if node.op_type == "Conv":
        a, b = a.reshape(a.shape[:2]).T, b.reshape(b.shape[:2]).T
    product: np.ndarray = np.matmul(a, b)
    return product.T if _outputs_first(node, turned) else product


def _belongs(node: onnx.NodeProto, weights: Sequence[str]) -> bool:
    ours = {name + end for name in weights for end in (A, B)}
    return bool(ours.intersection(node.input)) or (node.op_type == "Add" and node.input[0].endswith(".without_lora"))
