"""The walk back: from the loss to whatever is to be differentiated with respect to."""

from collections.abc import Collection, Iterable, Mapping

import onnx

from headwater_control.compiler.autodiff import node as nodes
from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.rules import RULES
from headwater_control.compiler.autodiff.types import Array
from headwater_control.compiler.differentiable import FLAT, STEERING
from headwater_control.compiler.errors import CompileError


def backward(
    graph: onnx.GraphProto,
    constants: Mapping[str, Array],
    seeds: Mapping[str, str],
    wanted: Collection[str],
    g: Emitter,
) -> dict[str, str]:
    """Emit the derivatives with respect to `wanted`, and name each; a tensor that nothing reaches is missing.

    `seeds` names, for tensors of the graph, the derivative of the loss with respect to each. The walk stops where
    nothing below is wanted. Raises `CompileError` for a node that can't be differentiated.
    """
    active = _depending(graph, set(wanted))
    flowing: dict[str, list[str]] = {name: [seed] for name, seed in seeds.items()}
    for proto in reversed(graph.node):  # ONNX wants them sorted
        if proto.op_type in FLAT or not active.intersection(_smooth_inputs(proto)):
            continue
        received = [_total(g, flowing.pop(name, [])) for name in proto.output]
        if not any(received):
            continue
        try:
            for name, gradient in _derive(g, nodes.read(proto, constants), received):
                if name in active:
                    flowing.setdefault(name, []).append(gradient)
        except CompileError as error:
            raise CompileError(f"{error}{_advice(graph, proto, wanted)}") from error
    return {name: _total(g, flowing[name]) for name in wanted if name in flowing}


def _derive(g: Emitter, node: nodes.Node, received: list[str]) -> Iterable[tuple[str, str]]:
    """Give a gradient for each input that gets one."""
    if node.kind not in RULES:
        raise node.refused("Headwater has no derivative of this operator: replace it by others")
    rule = RULES[node.kind]
    for name, gradient in zip(node.inputs, rule.derive(g, node, *received), strict=False):
        if not name or gradient is None or not g.type(name).floating:
            continue
        if rule.broadcasts:
            gradient = g.unbroadcast(gradient, g.type(node.y).dims, g.type(name).dims, name)
        yield name, gradient


def _advice(graph: onnx.GraphProto, proto: onnx.NodeProto, wanted: Collection[str]) -> str:
    """Say what could still train, if some of it lies behind the node."""
    before = set(proto.input)
    for earlier in reversed(graph.node):
        if before.intersection(earlier.output):
            before.update(earlier.input)
    behind = [name for name in wanted if name not in before]
    if not behind:
        return ""
    told = " ".join(f"--trainable {name!r}" for name in behind[:4]) + (" …" if len(behind) > 4 else "")
    return f"; or train only what comes behind it: {told}"


def _total(g: Emitter, gradients: list[str]) -> str:
    """Add up what flows back from every use of a tensor; "" if nothing does."""
    if len(gradients) <= 1:
        return "".join(gradients)
    return g.add(*gradients) if len(gradients) == 2 else g.op("Sum", *gradients)


def _depending(graph: onnx.GraphProto, sources: set[str]) -> set[str]:
    """Name the tensors that change smoothly with any of the sources, and these."""
    names = set(sources)
    for proto in graph.node:
        if proto.op_type not in FLAT and names.intersection(_smooth_inputs(proto)):
            names.update(name for name in proto.output if name)
    return names


def _smooth_inputs(proto: onnx.NodeProto) -> list[str]:
    steering = STEERING.get(proto.op_type, ())
    return [name for place, name in enumerate(proto.input) if name and place not in steering]
