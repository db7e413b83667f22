"""Proves that a bundle trains, by one step in a child process; and if not, says which node stands in the way.

The child is the agent's own (`headwater_agent.training.trial`): this package never imports the agent's code.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
from headwater_wire.manifest import Manifest, parse

from headwater_control.compiler.differentiable import reached
from headwater_control.compiler.errors import CompileError

TIMEOUT_S = 180.0

# How the training runtime says which operator it can't differentiate.
_UNKNOWN = re.compile(r"gradient builder has not been registered: (?P<operator>\w+) for node (?P<node>.*)")
_WORD = re.compile(r"\w+")
_ADVICE = {
    "AveragePool": "use GlobalAveragePool, MaxPool or a Conv with strides",  # its gradient ends the process by SIGFPE
    "Sum": "write it as Add",
    "InstanceNormalization": "use BatchNormalization or LayerNormalization",
    "LRN": "leave it out, or use BatchNormalization",
    "GRU": "use convolutions or attention",
    "LSTM": "use convolutions or attention",
    "RNN": "use convolutions or attention",
    **dict.fromkeys(
        ("Celu", "Elu", "HardSigmoid", "HardSwish", "Mish", "PRelu", "Selu", "Softplus", "Softsign", "ThresholdedRelu"),
        "use Relu, LeakyRelu, Gelu, Sigmoid or Tanh",
    ),
}


def prove(folder: Path) -> str:
    """Train the folder's bundle one step in a child; return a note, or ""; raise `CompileError` if it doesn't train."""
    verdict = _ask(folder)
    if verdict.get("trains"):
        return "" if verdict["loss"] is not None else "the loss of a step on random data was not finite"
    problem = str(verdict.get("problem", ""))
    graph = onnx.load(folder / "graph.onnx").graph
    description = parse((folder / "manifest.json").read_bytes())
    node = _culprit(problem, graph, description.loss.output)
    if node is None:
        operators = sorted({node.op_type for node in graph.node})
        raise CompileError(f"the model can't be trained: {problem} (its operators: {', '.join(operators)})")
    advice = _ADVICE.get(node.op_type, "replace it by operators with a derivative")
    raise CompileError(
        f"the model can't be trained: the training engine can't differentiate the node {node.name!r} "
        f"({node.op_type}): {advice}{_freezing(graph, node, description)}"
    )


def _ask(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "headwater_agent.training.trial", str(folder)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CompileError(
            f"a single step of training took more than {TIMEOUT_S:.0f} s: the model is too large"
        ) from error
    try:
        verdict: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        said = (child.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        how = f"was ended by signal {-child.returncode}" if child.returncode < 0 else f"ended with {child.returncode}"
        return {"trains": False, "problem": f"the training engine {how} on this graph: {said[:300]}"}
    return verdict


def _culprit(problem: str, graph: onnx.GraphProto, output: str) -> onnx.NodeProto | None:
    """Find the node that an engine's message is about: its name, else an operator it mentions (GRU in GRUGrad)."""
    flowing = reached(graph, output)
    nodes = [node for node in graph.node if flowing.intersection(node.output)]
    if found := _UNKNOWN.search(problem):
        named = [node for node in nodes if node.name == found["node"].strip()]
        return next(iter(named or [node for node in nodes if node.op_type == found["operator"]]), None)
    words = set(_WORD.findall(problem))
    mentioned = [node for node in nodes if {node.op_type, f"{node.op_type}Grad", f"{node.op_type}Training"} & words]
    known = [node for node in nodes if node.op_type in _ADVICE]  # for an engine that said nothing of use
    return next(iter(mentioned or known), None)


def _freezing(graph: onnx.GraphProto, node: onnx.NodeProto, description: Manifest) -> str:
    """Say which parameters could still train, if some lie behind the node."""
    before = set(node.input)
    for earlier in reversed(graph.node):
        if before.intersection(earlier.output):
            before.update(earlier.input)
    behind = [parameter.name for parameter in description.parameters if parameter.name not in before]
    if not behind:
        return ""
    told = " ".join(f"--trainable {name!r}" for name in behind[:4]) + (" …" if len(behind) > 4 else "")
    return f"; or train only what comes behind it: {told}"
