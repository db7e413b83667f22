"""Training by ONNX Runtime's training build: its gradient builder, its SGD."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from headwater_wire import graphs
from headwater_wire.manifest import Loss, Manifest
from headwater_wire.messages import Plan

from headwater_agent.training import graph_check
from headwater_agent.training.engine import Batch, Bundle, Score, Session, State, Vector
from headwater_agent.training.engines.graph import cut_to, make_explicit
from headwater_agent.training.engines.runtime import CheckpointState, Module, Optimizer, artifacts, session_options
from headwater_agent.training.errors import NotPossible

_LOSSES = {
    "cross_entropy": artifacts.LossType.CrossEntropyLoss,
    "mse": artifacts.LossType.MSELoss,
    "bce_with_logits": artifacts.LossType.BCEWithLogitsLoss,
    "l1": artifacts.LossType.L1Loss,
}
_LABEL_INPUTS = ("labels", "target")  # what its loss blocks call their second input
# What generate_artifacts and Module raise on graphs they can't take, as met: none of it is documented.
_REFUSALS = (RuntimeError, LookupError, ValueError, TypeError, onnx.checker.ValidationError)
_MAX_THREADS = 8  # where the box decides: on more, small models get slower
_SEED_BITS = (1 << 63) - 1  # the runtime takes a signed 64-bit seed, a plan has an unsigned one


class NativeEngine:
    """ONNX Runtime 1.19's on-device training."""

    def version(self) -> str:
        """Name what computes."""
        return f"native, ONNX Runtime {onnxruntime.__version__}"

    def open(self, bundle: Bundle, threads: int) -> Session:
        """Build the gradient graph; raise `NotPossible` with the engine's own words if it can't."""
        _check(bundle.manifest)
        graph_check.check(bundle.path(bundle.manifest.graph))
        # The files are needed only until they are loaded: a worker that is killed later leaves none behind.
        with TemporaryDirectory(prefix="headwater-train-") as folder:
            try:
                _make_artifacts(bundle, Path(folder))
                wanted = threads or min(len(os.sched_getaffinity(0)), _MAX_THREADS)
                return _NativeSession(bundle.manifest, Path(folder), wanted)
            except _REFUSALS as error:
                raise NotPossible(f"the training engine can't train this graph: {_last_words(error)}") from error


class _NativeSession:
    def __init__(self, manifest: Manifest, folder: Path, threads: int) -> None:
        self._manifest = manifest
        self._state = CheckpointState.load_checkpoint(folder / "checkpoint")
        self._module = Module(
            folder / "training_model.onnx",
            self._state,
            folder / "eval_model.onnx",
            session_options=session_options(threads),
        )
        self._optimizer = Optimizer(folder / "optimizer_model.onnx", self._module)
        self._inputs = ["label" if name in _LABEL_INPUTS else name for name in self._module.input_names()]

    def load(self, vector: Vector, plan: Plan) -> None:
        self._put(vector)
        onnxruntime.set_seed(plan.seed & _SEED_BITS)

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        self._module.train()
        loss, _ = self._module(*self._feed(batch))
        self._optimizer.set_learning_rate(learning_rate)
        self._optimizer.step()
        self._module.lazy_reset_grad()
        return float(loss)

    def evaluate(self, batch: Batch) -> Score:
        self._module.eval()
        loss, answers = self._module(*self._feed(batch))
        labels = batch["label"]
        return Score(float(loss) * len(labels), *count_right(self._manifest.loss, answers, labels))

    def vector(self) -> Vector:
        vector = np.empty(self._manifest.elements, np.float32)
        for parameter in self._manifest.parameters:
            part = slice(parameter.offset, parameter.offset + parameter.elements)
            vector[part] = self._state.parameters[parameter.name].data.reshape(-1)
        return vector

    def state(self) -> State:
        return {"parameters": self.vector()}  # plain SGD remembers nothing else

    def restore(self, state: State) -> None:
        self._put(state["parameters"])

    def close(self) -> None:
        del self._optimizer, self._module, self._state

    def _put(self, vector: Vector) -> None:
        # By name, since the engine's own flat buffer has an order of its own.
        for parameter in self._manifest.parameters:
            part = vector[parameter.offset : parameter.offset + parameter.elements]
            self._state.parameters[parameter.name].data = np.ascontiguousarray(part, np.float32).reshape(
                parameter.shape
            )
        self._module.lazy_reset_grad()

    def _feed(self, batch: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        return [batch[name] for name in self._inputs]


def count_right(loss: Loss, answers: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[float, float]:
    """Count right answers (the largest logit, or the share of signs that agree), or add up absolute errors."""
    match loss.kind:
        case "cross_entropy":
            return float(np.count_nonzero(answers.argmax(axis=1) == labels)), 0.0
        case "bce_with_logits":
            agree = (answers > 0) == (labels > 0.5)
            return float(agree.reshape(len(labels), -1).mean(axis=1).sum()), 0.0
        case _:
            return 0.0, float(np.abs(answers - labels).reshape(len(labels), -1).mean(axis=1).sum())


def _check(manifest: Manifest) -> None:
    """Refuse what this engine has no words for."""
    loss, step = manifest.loss, manifest.step
    if loss.kind not in _LOSSES or loss.smoothing or loss.weights or loss.ignore is not None or loss.class_axis != 1:
        raise NotPossible(f"the native engine has no loss {loss.kind} of this form: use the portable engine")
    if clashing := {spec.name for spec in manifest.inputs}.intersection(_LABEL_INPUTS):
        raise NotPossible(f"the native engine takes the input {clashing.pop()!r} for labels: use the portable one")
    if any(parameter.statistic for parameter in manifest.parameters):
        raise NotPossible("the native engine trains BatchNormalization frozen: use the portable engine")
    if step.optimizer != "sgd" or step.scalars != (graphs.LEARNING_RATE,):
        raise NotPossible("the native engine has plain sgd only: use the portable engine")


def _make_artifacts(bundle: Bundle, folder: Path) -> None:
    manifest = bundle.manifest
    model = onnx.load(bundle.path(manifest.graph), load_external_data=False)
    cut_to(model, manifest.loss.output)
    make_explicit(model)
    artifacts.generate_artifacts(
        model,
        requires_grad=[parameter.name for parameter in manifest.parameters],
        frozen_params=[],  # they stay in the graph as constants, where they are folded and prepacked
        loss=_LOSSES[manifest.loss.kind],
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=folder,
        additional_output_names=[manifest.loss.output],
    )


def _last_words(error: Exception) -> str:
    """Leave out the C++ signature that its messages begin with."""
    text = " ".join(str(error).split())
    for marker in ("was false.", "[ONNXRuntimeError]"):
        _, found, rest = text.partition(marker)
        if found and rest.strip():
            return rest.strip()[:600]
    return text[:600] or type(error).__name__
