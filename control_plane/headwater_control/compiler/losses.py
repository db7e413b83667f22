"""What each loss asks of the output it reads, and of the label it compares it with."""

import onnx
from headwater_wire.manifest import LOSSES, Loss, TensorSpec

from headwater_control.compiler.errors import CompileError

# The last operator of an inference model that a loss of this kind contains itself.
_REPEATED = {"cross_entropy": ("Softmax", "LogSoftmax"), "bce_with_logits": ("Sigmoid",)}


def choose(graph: onnx.GraphProto, outputs: tuple[TensorSpec, ...], kind: str, name: str) -> tuple[Loss, str]:
    """Fix the loss: which tensor it reads and what the label looks like, with a note if the two differ."""
    if kind not in LOSSES:
        raise CompileError(f"there is no loss {kind!r}; choose one of {', '.join(LOSSES)}")
    output = _output(outputs, name)
    if output.dtype != "float32":
        raise CompileError(f"the output {output.name!r} is {output.dtype}; a loss reads float32: export the scores")
    read, note = _before_repeated(graph, output, kind)
    if kind != "cross_entropy":
        return Loss(kind, read, TensorSpec("label", "float32", output.shape)), note
    if len(output.shape) != 1 or output.shape[0] < 2:
        raise CompileError(
            f"cross_entropy needs one score per class and example, [batch, classes]; the output {output.name!r} is "
            f"[batch, {', '.join(map(str, output.shape))}]: choose another output (--output) or loss"
        )
    return Loss(kind, read, TensorSpec("label", "int64", ()), output.shape[0]), note


def _output(outputs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    named = {spec.name: spec for spec in outputs}
    if not name and len(outputs) == 1:
        return outputs[0]
    if name in named:
        return named[name]
    told = ", ".join(named)
    if name:
        raise CompileError(f"the model has no output {name!r}; it has {told}")
    raise CompileError(f"the model has several outputs ({told}): say by --output which one the loss reads")


def _before_repeated(graph: onnx.GraphProto, output: TensorSpec, kind: str) -> tuple[str, str]:
    makers = {made: node for node in graph.node for made in node.output}
    node = makers.get(output.name)
    while node is not None and node.op_type == "Identity":
        node = makers.get(node.input[0])
    if node is None or node.op_type not in _REPEATED.get(kind, ()):
        return output.name, ""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    if node.op_type != "Sigmoid" and axis not in (-1, len(output.shape)):
        return output.name, ""
    return node.input[0], (
        f"the last node, {node.name!r} ({node.op_type}), is left out while training, since {kind} contains it; "
        "the exported model keeps it"
    )
