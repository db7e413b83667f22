"""Graphs that must never be opened, and one that may."""

from collections.abc import Sequence

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper


def model(
    nodes: Sequence[NodeProto] = (),
    tensors: Sequence[TensorProto] = (),
    opsets: Sequence[tuple[str, int]] = (("", 17),),
) -> ModelProto:
    """Write y = relu(x), with what is given beside it."""
    made = [*nodes, helper.make_node("Relu", ["x"], ["y"])]
    imports = [helper.make_opsetid(*opset) for opset in opsets]
    return helper.make_model(_graph(made, tensors), opset_imports=imports, ir_version=8)


def in_subgraph(node: NodeProto | None = None, tensor: TensorProto | None = None, depth: int = 1) -> ModelProto:
    """Hide a node or a tensor in a branch of a branch, so many deep."""
    inner = _graph([node or helper.make_node("Relu", ["x"], ["y"])], [tensor] if tensor else [], inputs=False)
    for _ in range(depth):
        branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = _graph([branch], inputs=False)
    return model(list(inner.node))


def deep(depth: int) -> ModelProto:
    """Nest graphs in graphs; built as bytes, since protobuf itself refuses to."""
    inner = _graph([helper.make_node("Relu", ["x"], ["y"])], inputs=False)
    for _ in range(depth):
        node = NodeProto(op_type="If", input=["c"], output=["y"])
        node.attribute.append(AttributeProto(name="then_branch", type=AttributeProto.GRAPH, g=inner))
        inner = GraphProto(name="g", node=[node])
    return model(list(inner.node))


def custom(domain: str = "com.example") -> NodeProto:
    """Make a node of an operator that some library would bring."""
    return helper.make_node("Run", ["x"], ["z"], domain=domain)


def external(location: str = "../../secret", name: str = "w", length: int = 8) -> TensorProto:
    """Make a tensor whose numbers lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[length // 4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(length))
    return tensor


def with_settings() -> ModelProto:
    """Bring session options along, as a model of ONNX Runtime may."""
    made = model()
    helper.set_model_props(made, {"ort_config": '{"session_options": {"intra_op_num_threads": 64}}'})
    return made


def with_function(domain: str = "com.example") -> ModelProto:
    """Bring a function along."""
    made = model()
    relu = helper.make_node("Relu", ["a"], ["b"])
    made.functions.append(helper.make_function(domain, "F", ["a"], ["b"], [relu], [helper.make_opsetid("", 17)]))
    return made


def with_sparse() -> ModelProto:
    """Say in a few bytes what would be gigabytes in memory."""
    made = model()
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))
    return made


def _graph(nodes: Sequence[NodeProto], tensors: Sequence[TensorProto] = (), *, inputs: bool = True) -> onnx.GraphProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy")
    return helper.make_graph(nodes, "g", [x] if inputs else [], [y], list(tensors))
