"""Reads an ONNX file and refuses, with advice, what Headwater can't carry to a device and train there."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto

from headwater_control.compiler import batch, constants, lean, old_softmax, sequences, shared
from headwater_control.compiler.errors import CompileError

MAX_BYTES = 512 * 1024 * 1024
MAX_IR = 10  # what onnxruntime 1.19 reads; later ones add no field that a checked model of these opsets uses
_MIN_IR = 4  # before it, each initializer had to be an input too
OPSETS = range(7, 26)  # what onnx's converter takes
_NEWEST = 21  # what onnxruntime 1.19 reads
_MODERN = 13  # it gave Softmax its present meaning: what is older is written anew before anything looks at it
_DOMAINS = ("", "ai.onnx")


def read(path: Path) -> onnx.ModelProto:
    """Read and check a model; raise `CompileError`.

    Functions are inlined, constants are initializers, sequences are tensors, everything but the graph is left out, and
    the batch is free where it can be.
    """
    model = _inlined(parse(path))
    _check_operators(model)
    model = _modern(model)
    model.ir_version = min(model.ir_version, MAX_IR)
    try:
        onnx.checker.check_model(lean.without_weights(model), full_check=True)
        for tensor in lean.weights(model.graph):
            onnx.checker.check_tensor(tensor)
    except Exception as error:  # beside two kinds of its own, what becomes of names and types that are none
        raise CompileError(f"the file is no valid model: {' '.join(str(error).split())[:500]}") from error
    shared.separate(model)
    model = _bare(model)
    constants.gather(model)
    sequences.unfold(model)
    return batch.free(model)


def parse(path: Path) -> onnx.ModelProto:
    """Read an ONNX file whose tensors are all inside; raise `CompileError`."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CompileError(f"the file has {size} bytes; {MAX_BYTES} is the limit for a model trained on devices")
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise CompileError(f"{path} can't be read: {error.strerror}") from error
    except DecodeError as error:
        raise CompileError("the file is no ONNX file, or was cut short") from error
    if not model.graph.node or not model.graph.output:
        raise CompileError("the file is no ONNX file: it holds no graph with nodes and outputs")
    for name in _names(model.graph):
        if not isinstance(name, str):  # protobuf's, where a name's bytes are no UTF-8
            raise CompileError(f"the name {name[:80]!r} is no text: the file is damaged, or its exporter is")
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise CompileError(
                f"the tensor {tensor.name!r} lies in a file beside the model: save the model as one file "
                "(onnx.save(onnx.load(PATH), OUT), or external_data=False in torch.onnx.export)"
            )
    return model


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the model's functions where they are called; raise `CompileError`."""
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # it raises RuntimeError and worse, undocumented
        raise CompileError(
            f"the model's functions can't be inlined ({' '.join(str(error).split())[:300]}): export it without them"
        ) from error


def _check_operators(model: onnx.ModelProto) -> None:
    versions = [item.version for item in model.opset_import if item.domain in _DOMAINS]
    if not versions or versions[0] not in OPSETS:
        raise CompileError(
            f"the model uses opset {versions[0] if versions else 'none'}; {OPSETS[0]} to {OPSETS[-1]} can be trained: "
            "export it with opset_version=18"
        )
    if model.graph.sparse_initializer:
        raise CompileError("the model has sparse initializers: export it with dense ones")
    for node in _nodes(model.graph):
        if node.op_type == "GroupNormalization" and 18 <= versions[0] < 21:
            raise CompileError(
                f"the node {node.name or node.output[0]!r} (GroupNormalization) is of opset {versions[0]}, whose "
                "meaning ONNX took back: export the model with opset_version=21, or 17"
            )
        if node.domain not in _DOMAINS:
            raise CompileError(
                f"the node {node.name or ', '.join(node.output)!r} is of the custom domain {node.domain!r} "
                f"({node.op_type}): devices know only ONNX's own operators; export without it"
            )


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write a model of an old opset in a newer one, and of one that devices may not know yet in an older."""
    version = next(item.version for item in model.opset_import if item.domain in _DOMAINS)
    if version > _NEWEST:
        return at_opset(_spelled_out(model), _NEWEST)
    if version >= _MODERN:
        return model
    model = at_opset(model, _MODERN)
    old_softmax.simplify(model)
    return model


def _spelled_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write operators that came later, such as Attention, as the functions that define them."""
    kinds = {node.op_type for node in _nodes(model.graph) if node.domain in _DOMAINS}
    late = [("", kind) for kind in sorted(kinds) if onnx.defs.has(kind) and not onnx.defs.has(kind, _NEWEST)]
    if not late:
        return model
    try:
        typed = onnx.shape_inference.infer_shapes(model)  # the definitions depend on types, of initializers too
        for tensor in typed.graph.initializer:
            kind = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            typed.graph.value_info.append(kind)
        return onnx.inliner.inline_selected_functions(typed, late, inline_schema_functions=True)
    except Exception as error:  # it raises RuntimeError and worse, undocumented
        raise CompileError(
            f"{', '.join(kind for _, kind in late)} can't be written in operators of opset {_NEWEST} "
            f"({' '.join(str(error).split())[:300]}): export the model with opset_version={_NEWEST}"
        ) from error


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Write a model in another opset; raise `CompileError` if onnx's converter can't."""
    version = next(item.version for item in model.opset_import if item.domain in _DOMAINS)
    if version == opset:
        return model
    try:
        converted = onnx.version_converter.convert_version(lean.without_weights(model), opset)
        return lean.with_weights(converted, model)
    except Exception as error:  # it raises RuntimeError and worse, undocumented
        raise CompileError(
            f"the model of opset {version} can't be brought to {opset} ({' '.join(str(error).split())[:300]}): "
            f"export it with opset_version={opset}"
        ) from error


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Leave out what is not the graph: exporters write stack traces with paths and names into the rest."""
    bare = onnx.ModelProto(ir_version=max(model.ir_version, _MIN_IR), producer_name="headwater", graph=model.graph)
    version = next(item.version for item in model.opset_import if item.domain in _DOMAINS)
    bare.opset_import.append(onnx.helper.make_opsetid("", version))
    graph = bare.graph
    for described in (graph, *_nodes(graph), *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        described.ClearField("doc_string")
        described.ClearField("metadata_props")
    return bare


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _nodes(inner)


def _names(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    for described in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield described.name
    for node in _nodes(graph):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
        for inner in _subgraphs(node):
            yield from _tensors(inner)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
