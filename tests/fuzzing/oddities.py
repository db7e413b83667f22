"""Models that are odd rather than broken: what exporters write, and what somebody may write to do harm."""

import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OTHERS = (
    "If", "Loop", "Scan", "QuantizeLinear", "DynamicQuantizeLinear", "StringNormalizer", "NonZero", "Det",
    "SequenceEmpty", "RandomNormalLike", "Bernoulli", "Optional", "NonMaxSuppression", "Compress", "Unique",
    "MaxUnpool", "Hardmax", "STFT", "Constant", "ConstantOfShape", "Range", "EyeLike", "OneHot", "Multinomial",
    "NoSuchOperator", "Identity", "Concat",
    "Split", "Reshape", "BatchNormalization", "Dropout", "Gather", "Softmax", "Conv", "LSTM", "Clip", "Pad", "Resize",
)  # fmt: skip


def exchanged(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Make a node another operator, of whatever inputs it has."""
    node = r.choice(model.graph.node)
    node.op_type = r.choice(_OTHERS)
    if r.random() < 0.5:
        del node.attribute[:]
    if r.random() < 0.2:
        node.domain = r.choice(("ai.onnx", "ai.onnx.ml", "com.microsoft", "acme", "ai.onnx.training"))
    return model


def nested(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Put a subgraph in: an If, Loop or Scan around what a node makes, sometimes many deep."""
    graph = model.graph
    source = r.choice([name for node in graph.node for name in node.output] + ["x"])
    body = helper.make_graph(
        [helper.make_node("Neg", [source], ["in0"])], "g0", [], [helper.make_empty_tensor_value_info("in0")]
    )
    for depth in range(1, r.choice((1, 1, 2, 5, 25))):
        inner = (
            helper.make_node("If", ["yes"], [f"in{depth}"], then_branch=body, else_branch=body)
            if depth < 6
            else (helper.make_node("Loop", ["", "yes"], [f"in{depth}"], body=body))
        )
        body = helper.make_graph([inner], f"g{depth}", [], [helper.make_empty_tensor_value_info(f"in{depth}")])
    graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    match r.randrange(3):
        case 0:
            node = helper.make_node("If", ["yes"], ["joined"], then_branch=body, else_branch=body)
        case 1:
            node = helper.make_node("Loop", ["", "yes"], ["joined"], body=body)
        case _:
            node = helper.make_node("Scan", [source], ["joined"], body=body, num_scan_inputs=1)
    graph.node.insert(r.randint(0, len(graph.node)), node)
    if graph.node[-1].input and r.random() < 0.7:
        graph.node[-1].input[0] = "joined"
    return model


def functional(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Put functions in: good ones, ones that call themselves, and ones that are not there."""
    name = r.choice(("Layer", "Relu", "Other"))
    inner = r.choice((helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Layer", ["a"], ["b"], domain="acme")))
    opsets = [*model.opset_import[:1], helper.make_opsetid("acme", 1)]
    model.functions.append(
        helper.make_function("acme", name, ["a"], r.choice((["b"], ["c"], ["b", "b"])), [inner], opsets)
    )
    if r.random() < 0.7:
        model.opset_import.append(helper.make_opsetid("acme", 1))
    node = r.choice(model.graph.node)
    node.op_type, node.domain = "Layer", "acme"
    return model


def sparse(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Put a sparse initializer, or a sparse or textual Constant, in."""
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    tensor = helper.make_sparse_tensor(
        values, helper.make_tensor("at", TensorProto.INT64, [1], [r.choice((0, 2, -1, 10**9))]), [3]
    )
    match r.randrange(3):
        case 0:
            model.graph.sparse_initializer.append(tensor)
        case 1:
            model.graph.node.insert(0, helper.make_node("Constant", [], ["sparse"], sparse_value=tensor))
        case _:
            model.graph.node.insert(0, helper.make_node("Constant", [], ["sparse"], value_strings=[b"a", b"\xff"]))
    if model.graph.node[-1].input and r.random() < 0.7:
        model.graph.node[-1].input[-1] = "sparse"
    return model


def enlarged(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Let constants grow into what no memory holds: from a few bytes of file."""
    size = r.choice((10**7, 10**9, 2**40, 2**62, -5))
    shape = numpy_helper.from_array(np.array(r.choice(([size], [size, size], [3, size])), np.int64), "vast.shape")
    model.graph.initializer.append(shape)
    match r.randrange(3):
        case 0:
            nodes = [helper.make_node("ConstantOfShape", ["vast.shape"], ["vast"])]
        case 1:
            model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "vast.one"))
            nodes = [helper.make_node("Expand", ["vast.one", "vast.shape"], ["vast"])]
        case _:
            ends = (("vast.from", 0), ("vast.to", size), ("vast.by", 1))
            model.graph.initializer.extend(
                numpy_helper.from_array(np.array(end, np.float32), name) for name, end in ends
            )
            nodes = [helper.make_node("Range", [name for name, _ in ends], ["vast"])]
    nodes.append(helper.make_node("ReduceMax", ["vast"], ["vast.top"], keepdims=0))
    last = model.graph.node[-1]
    nodes.append(helper.make_node("Add", [last.input[0] if last.input else "x", "vast.top"], ["vast.sum"]))
    if last.input:
        last.input[0] = "vast.sum"
    for node in nodes:
        model.graph.node.insert(len(model.graph.node) - 1, node)
    return model


def deepened(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Put a chain of hundreds or thousands of nodes before the last one."""
    last = model.graph.node[-1]
    if not last.input:
        return model
    name = last.input[0]
    kind, parameters = r.choice(("Neg", "Tanh", "Add")), r.random() < 0.3
    chain = []
    for number in range(r.choice((300, 1000)) if kind == "Add" else 3000):  # onnxruntime takes a minute for 3000 Adds
        inputs = [name]
        if kind == "Add":
            inputs.append(f"deep.c{number if parameters else 0}")
            if parameters or not number:
                model.graph.initializer.append(numpy_helper.from_array(np.full(1, 1e-4, np.float32), inputs[-1]))
        name = f"deep.{number}"
        chain.append(helper.make_node(kind, inputs, [name]))
    last.input[0] = name
    kept = onnx.NodeProto.FromString(last.SerializeToString())
    del model.graph.node[-1]
    model.graph.node.extend([*chain, kept])
    return model


def scalar(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Give an output without any axis, before or behind the others."""
    graph = model.graph
    source = r.choice([name for node in graph.node for name in node.output] + ["x"])
    graph.node.append(helper.make_node("ReduceMean", [source], ["odd.scalar"], keepdims=0))
    value = helper.make_tensor_value_info("odd.scalar", TensorProto.FLOAT, [])
    graph.output.insert(r.randint(0, len(graph.output)), value)
    return model


def unread(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Add an input that nothing reads."""
    kind = r.choice((TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL))
    shape = r.choice((["batch", 2], [3, 2], ["batch"], [], ["batch", 0], None))
    place = r.randint(0, len(model.graph.input))
    model.graph.input.insert(place, helper.make_tensor_value_info("odd.unread", kind, shape))
    return model


def quantized(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Round what the last node reads to eight bits and back, or its constant."""
    graph = model.graph
    last = graph.node[-1]
    if not last.input:
        return model
    place = r.randrange(len(last.input))
    graph.initializer.append(numpy_helper.from_array(np.array(0.05, np.float32), "odd.step"))
    graph.initializer.append(numpy_helper.from_array(np.array(128, np.uint8), "odd.zero"))
    scale = ["odd.step", "odd.zero"]
    nodes = [
        helper.make_node("QuantizeLinear", [last.input[place], *scale], ["odd.small"]),
        helper.make_node("DequantizeLinear", ["odd.small", *scale], ["odd.wide"]),
    ]
    last.input[place] = "odd.wide"
    for node in nodes:
        graph.node.insert(len(graph.node) - 1, node)
    return model
