"""The fields of an ONNX file that Headwater's compiler writes, by number. What has others is refused.

From the ONNX IR specification (https://github.com/onnx/onnx/blob/main/docs/IR.md) and its onnx.proto. Left out on
purpose: training_info, functions and configuration of a model, device_configurations of a node, ref_attr_name and the
sparse tensors of an attribute, sparse_initializer of a graph (a few bytes of which are gigabytes in memory), segment of
a tensor, opaque types.
"""

from headwater_agent.training.wire_format import BYTES, FIXED32, FIXED64, VARINT

# What a field can hold beside a message of its own, and how it is then written.
LEAVES = {
    "number": (VARINT,),
    "numbers": (VARINT, BYTES),  # one by one, or packed
    "float": (FIXED32,),
    "floats": (FIXED32, BYTES),
    "doubles": (FIXED64, BYTES),
    "text": (BYTES,),
    "domain": (BYTES,),
    "key": (BYTES,),
}

_ENTRY = {1: "key", 2: "text"}
MESSAGES: dict[str, dict[int, str]] = {
    "model": {
        1: "number", 2: "text", 3: "text", 4: "text", 5: "number", 6: "text", 7: "graph", 8: "opset", 14: "entry",
    },
    "opset": {1: "domain", 2: "number"},
    "entry": _ENTRY,
    "graph": {
        1: "node", 2: "text", 5: "tensor", 10: "text", 11: "value", 12: "value", 13: "value", 14: "annotation",
        16: "entry",
    },
    "node": {1: "text", 2: "text", 3: "text", 4: "text", 5: "attribute", 6: "text", 7: "domain", 8: "text", 9: "entry"},
    "attribute": {
        1: "text", 2: "float", 3: "number", 4: "text", 5: "tensor", 6: "graph", 7: "floats", 8: "numbers", 9: "text",
        10: "tensor", 11: "graph", 13: "text", 14: "type", 15: "type", 20: "number",
    },
    "tensor": {
        1: "numbers", 2: "number", 4: "floats", 5: "numbers", 6: "text", 7: "numbers", 8: "text", 9: "text",
        10: "doubles", 11: "numbers", 12: "text", 13: "external", 14: "number", 16: "entry",
    },
    "external": _ENTRY,
    "annotation": {1: "text", 2: "entry"},
    "value": {1: "text", 2: "type", 3: "text", 4: "entry"},
    "type": {1: "tensor type", 4: "element type", 5: "map type", 6: "text", 8: "tensor type", 9: "element type"},
    "tensor type": {1: "number", 2: "shape"},
    "element type": {1: "type"},
    "map type": {1: "number", 2: "type"},
    "shape": {1: "dimension"},
    "dimension": {1: "number", 2: "text", 3: "text"},
}  # fmt: skip
NEEDED = {("model", 1), ("model", 7), ("model", 8)}  # ir_version, graph, opset_import
INITIALIZER = ("graph", 5)
DIMS, DATA_TYPE, NAME, DATA_LOCATION = 1, 2, 8, 14  # of a tensor
EXTERNAL = 1  # as its data_location

# Bytes of one element, by TensorProto.DataType; smaller ones count as one.
ELEMENT_BYTES = {1: 4, 4: 2, 5: 2, 6: 4, 7: 8, 8: 16, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2}
