"""Models that are broken: a good one, changed in one way or a few."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.fuzzing import oddities

Change = Callable[[onnx.ModelProto, random.Random], onnx.ModelProto | bytes | None]

_HUGE = (2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -1, -(2**63), 0)
_NAMES = (
    "hw.loss", "hw.learning_rate", "hw.new.y", "hw.constant.0", "hw.Mul.1", "label", "", " ", "a\nb", "x" * 5000, "é𝄞",
    "../../etc/passwd", "constants", "x", "y", "*", "lora:2",
)  # fmt: skip
_SPLICES = (b"\0", b"\xff", b"\xff" * 9, b"\x80" * 10, b"\xed\xa0\x80", b"\x0a\x00", b"\x08\x7f")


def flipped(model: onnx.ModelProto, r: random.Random) -> bytes:
    """Damage the file's bytes."""
    out = bytearray(model.SerializeToString())
    for _ in range(r.choice((1, 1, 2, 5, 20))):
        at = r.randrange(len(out))
        match r.randrange(4):
            case 0:
                out[at] ^= 1 << r.randrange(8)
            case 1:
                out[at] = r.randrange(256)
            case 2:
                del out[at : at + r.randint(1, 8)]
            case _:
                out[at:at] = r.choice(_SPLICES)
    return bytes(out)


def truncated(model: onnx.ModelProto, r: random.Random) -> bytes:
    """Cut the file short."""
    data: bytes = model.SerializeToString()
    return data[: r.randrange(len(data))]


def cyclic(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Let a node read what it, or one behind it, makes."""
    nodes = model.graph.node
    place = r.randrange(len(nodes))
    node = nodes[place]
    if node.input and (made := r.choice(nodes[place:]).output):
        node.input[r.randrange(len(node.input))] = r.choice(made)
    return model


def shuffled(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Put the nodes out of order, or some twice."""
    nodes = [*model.graph.node]
    nodes = r.sample(nodes, len(nodes)) if r.random() < 0.5 else [*nodes, r.choice(nodes)]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def renamed(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Call a tensor by a name that is taken, reserved or odd: everywhere, so that the graph stays whole."""
    graph = model.graph
    names = [value.name for value in (*graph.input, *graph.initializer, *graph.output)]
    names += [name for node in graph.node for name in node.output]
    old, new = r.choice(names), r.choice((*_NAMES, *names))
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for described in (*graph.input, *graph.initializer, *graph.output):
        described.name = new if described.name == old else described.name
    return model


def misnamed(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Change one name in one place: something is missing, or there twice."""
    graph = model.graph
    place = r.choice([*graph.node, *graph.input, *graph.initializer, *graph.output])
    if isinstance(place, onnx.NodeProto):
        field = r.choice((place.input, place.output))
        if field:
            field[r.randrange(len(field))] = r.choice(_NAMES)
    else:
        place.name = r.choice(_NAMES)
    return model


def without(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Leave something out: an initializer, an input, an output, a node, an attribute."""
    graph = model.graph
    node = r.choice(graph.node)
    field = r.choice(
        (graph.initializer, graph.input, graph.output, graph.node, node.attribute, node.input, node.output)
    )
    if field:
        del field[r.randrange(len(field))]
    return model


def retyped(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Call a tensor's numbers something that they are not."""
    graph = model.graph
    kind = r.choice((*TensorProto.DataType.values(), 99))
    found = r.choice([*graph.initializer, *graph.input, *graph.output])
    if isinstance(found, TensorProto):
        found.data_type = kind
    else:
        found.type.tensor_type.elem_type = kind
    return model


def recast(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto | None:
    """Give an initializer's numbers in another type, or numbers that are none."""
    tensors = model.graph.initializer
    if not tensors:
        return None
    tensor = r.choice(tensors)
    values = _values(tensor)
    kinds = (np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_, np.complex64, np.object_)
    if values.dtype == np.float32 and r.random() < 0.5:
        values = values.copy()
        values.reshape(-1)[: r.choice((1, values.size))] = r.choice((np.nan, np.inf, -np.inf, 1e38, 1e-45, 0.0))
    elif values.dtype == np.object_ or (kind := r.choice(kinds)) is np.object_:
        values = np.full(values.shape, b"text", np.object_)
    else:
        values = values.astype(kind)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def resized(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Declare another size, mostly an impossible one."""
    graph = model.graph
    found = r.choice([*graph.initializer, *graph.input, *graph.output])
    size = r.choice((*_HUGE, 1, 2, 7))
    if isinstance(found, TensorProto):
        found.dims[:] = [*found.dims, size] if not found.dims or r.random() < 0.3 else [size, *found.dims[1:]]
    elif dims := found.type.tensor_type.shape.dim:
        match r.randrange(4):
            case 0:
                dims.add().dim_value = size
            case 1:
                del dims[r.randrange(len(dims))]
            case 2:
                r.choice(dims).Clear()
            case _:
                r.choice(dims).dim_value = size
    return model


def steered(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto | None:
    """Change the whole numbers that an attribute, or a constant shape or axis, says."""
    attributes = [
        a for node in model.graph.node for a in node.attribute if a.type in (AttributeProto.INT, AttributeProto.INTS)
    ]
    shapes = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    if not attributes and not shapes:
        return None
    found = r.choice([*attributes, *shapes])
    number = r.choice((*_HUGE, 1, 2, 3, 100, 10**9))
    if isinstance(found, TensorProto):
        values = _values(found).copy()
        if values.size:
            values.reshape(-1)[r.randrange(values.size)] = number
        found.CopyFrom(numpy_helper.from_array(values, found.name))
    elif found.type == AttributeProto.INT:
        found.i = number
    elif found.ints:
        found.ints[r.randrange(len(found.ints))] = number
    return model


def outside(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto | None:
    """Let a tensor lie in a file beside the model."""
    if not model.graph.initializer:
        return None
    tensor = r.choice(model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (
        ("location", r.choice(("../../etc/passwd", "/etc/passwd", "w.bin", "", "a\0b"))),
        ("offset", "-1"),
    ):
        tensor.external_data.add(key=key, value=value)
    return model


def rebatched(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Declare the batch as it is not, or nothing at all."""
    for value in (*model.graph.input, *model.graph.output):
        if r.random() < 0.5 and (dims := value.type.tensor_type.shape.dim):
            match r.randrange(4):
                case 0:
                    dims[0].dim_value = r.choice((0, 1, 4, -1, 2**40))
                case 1:
                    dims[0].dim_param = r.choice(("", "n", "batch*2"))
                case 2:
                    value.type.tensor_type.ClearField("shape")
                case _:
                    value.type.Clear()
    return model


def versioned(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Say another opset or format version, twice, or none."""
    match r.randrange(4):
        case 0 if model.opset_import:
            model.opset_import[0].version = r.choice((0, 1, 6, 7, 12, 17, 25, 26, 10**6, -1))
        case 1:
            model.opset_import.append(helper.make_opsetid(r.choice(("", "ai.onnx", "acme")), r.choice((7, 13, 21))))
        case 2:
            model.ir_version = r.choice((0, 1, 2, 3, 9, 13, 99, -1))
        case _:
            del model.opset_import[:]
    return model


def _values(tensor: TensorProto) -> npt.NDArray[Any]:
    """Read numbers; of a tensor that is broken already, a few."""
    try:
        values: npt.NDArray[Any] = numpy_helper.to_array(tensor)
    except Exception:  # whatever another change has done to it
        return np.ones(3, np.float32)
    return values


CHANGES: tuple[Change, ...] = (
    flipped, flipped, truncated, cyclic, shuffled, renamed, renamed, misnamed, without, without, retyped, recast,
    resized, steered, steered, outside, rebatched, versioned,
    oddities.exchanged, oddities.exchanged, oddities.nested, oddities.functional, oddities.sparse, oddities.enlarged,
    oddities.deepened, oddities.scalar, oddities.unread, oddities.quantized,
)  # fmt: skip


def damaged(model: onnx.ModelProto, r: random.Random) -> tuple[str, bytes]:
    """Change a model in one to three ways; give their names, and the file's bytes."""
    told: list[str] = []
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        change = r.choice(CHANGES)
        told.append(change.__name__)
        changed = change(model, r)
        if isinstance(changed, bytes):
            return "+".join(told), changed
        if not model.graph.node:
            break
    return "+".join(told), model.SerializeToString()
