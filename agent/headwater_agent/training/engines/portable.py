"""Training on stock ONNX Runtime: the control plane has differentiated the model, a step is one run of a graph."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from headwater_wire import graphs
from headwater_wire.errors import WireError
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Plan
from headwater_wire.tensors import read_tensors

from headwater_agent.training.engine import Batch, Bundle, Score, Session, Vector
from headwater_agent.training.errors import NotPossible

_ERRORS_ONLY = 3
_MAX_THREADS = 8  # where the box decides: on more, small models get slower
_SEED_BITS = (1 << 31) - 1
_CPU = "CPUExecutionProvider"


class PortableEngine:
    """The bundle's `train` and `evaluation` graphs, of standard operators only, on whatever runtime is here."""

    def open(self, bundle: Bundle, threads: int) -> Session:
        """Load the graphs; raise `NotPossible` if this runtime can't."""
        step = bundle.manifest.step
        wanted = threads or min(len(os.sched_getaffinity(0)), _MAX_THREADS)
        try:
            constants = read_tensors(bundle.path(step.constants)) if step.constants else {}
            return _PortableSession(bundle, constants, wanted)
        except (OSError, WireError) as error:
            raise NotPossible(f"the model's constants can't be read: {error}") from error
        except Exception as error:  # the runtime raises a dozen kinds of its own, without a common parent
            raise NotPossible(
                f"this device's ONNX Runtime {onnxruntime.__version__} can't load the model's training "
                f"graph: {' '.join(str(error).split())[:500]}"
            ) from error


class _Side:
    """One of two sets of parameters and optimizer state: each step reads one and writes the other."""

    def __init__(self, manifest: Manifest) -> None:
        self.vector: Vector = np.zeros(manifest.elements, np.float32)
        self.slots = {slot: np.zeros(manifest.elements, np.float32) for slot in manifest.step.slots}

    def tensors(self, manifest: Manifest) -> dict[str, npt.NDArray[np.float32]]:
        """Give views of the vectors, by the names that the training graph has for its inputs."""
        views = {}
        for parameter in manifest.parameters:
            part = slice(parameter.offset, parameter.offset + parameter.elements)
            views[parameter.name] = self.vector[part].reshape(parameter.shape)
            for slot, values in self.slots.items() if not parameter.statistic else ():
                views[graphs.state(slot, parameter.name)] = values[part].reshape(parameter.shape)
        return views


class _PortableSession:
    def __init__(self, bundle: Bundle, constants: Mapping[str, npt.NDArray[Any]], threads: int) -> None:
        self._manifest, self._step = bundle.manifest, bundle.manifest.step
        self._constants = {name: onnxruntime.OrtValue.ortvalue_from_numpy(values) for name, values in constants.items()}
        self._kept = constants  # the runtime refers to their memory
        self._train = self._session(str(bundle.path(self._step.train)), threads)
        self._evaluation = self._session(str(bundle.path(self._step.evaluation)), threads)
        self._scores = [output.name for output in self._evaluation.get_outputs()]
        self._fed = [value.name for value in self._evaluation.get_inputs()]
        self._batch_inputs = [
            spec.name
            for spec in (*self._manifest.inputs, self._manifest.loss.label)
            if spec and spec.name in {value.name for value in self._train.get_inputs()}
        ]
        self._sides = (_Side(self._manifest), _Side(self._manifest))
        self._beginning: Vector = np.zeros(self._manifest.elements if self._proximal else 0, np.float32)
        self._scalars = {name: np.zeros((), np.float32) for name in self._step.scalars}
        self._loss = np.zeros((), np.float32)
        self._bindings = [self._bind(*pair) for pair in (self._sides, self._sides[::-1])]
        self._turn = 0

    def load(self, vector: Vector, plan: Plan) -> None:
        self._turn = 0
        self._sides[0].vector[:] = vector
        for values in self._sides[0].slots.values():
            values[:] = 0
        if self._proximal:
            self._beginning[:] = vector
        for name, value in _scalars(plan).items():
            if name in self._scalars:
                self._scalars[name][...] = value
        onnxruntime.set_seed(plan.seed & _SEED_BITS)

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        self._scalars[graphs.LEARNING_RATE][...] = learning_rate
        if graphs.STEP in self._scalars:
            self._scalars[graphs.STEP] += np.float32(1)
        binding = self._bindings[self._turn]
        held = [np.ascontiguousarray(batch[name]) for name in self._batch_inputs]  # as long as the step lasts
        for name, values in zip(self._batch_inputs, held, strict=True):
            binding.bind_cpu_input(name, values)
        self._train.run_with_iobinding(binding)
        self._turn = 1 - self._turn
        return float(self._loss)

    def evaluate(self, batch: Batch) -> Score:
        tensors = self._sides[self._turn].tensors(self._manifest)
        feed = {name: tensors[name] if name in tensors else np.ascontiguousarray(batch[name]) for name in self._fed}
        found = dict(zip(self._scores, self._evaluation.run(self._scores, feed), strict=True))
        examples = len(next(iter(batch.values())))
        return Score(
            float(found[graphs.LOSS]) * examples,
            float(found.get(graphs.CORRECT, 0.0)),
            float(found.get(graphs.ABSOLUTE_ERROR, 0.0)),
        )

    def vector(self) -> Vector:
        return self._sides[self._turn].vector.copy()

    def close(self) -> None:
        del self._bindings, self._train, self._evaluation, self._constants

    @property
    def _proximal(self) -> bool:
        return graphs.PROXIMAL in self._step.scalars

    def _session(self, path: str, threads: int) -> onnxruntime.InferenceSession:
        """Open a graph for a box that does other work too: no spinning, no memory pattern, few threads."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_external_initializers(list(self._constants), list(self._constants.values()))
        return onnxruntime.InferenceSession(path, options, providers=[_CPU])

    def _bind(self, before: _Side, after: _Side) -> onnxruntime.IOBinding:
        """Bind everything but the batch: what a step reads, and where it writes."""
        binding = self._train.io_binding()
        tensors, outputs = before.tensors(self._manifest), after.tensors(self._manifest)
        if self._proximal:
            for parameter in self._manifest.parameters:
                if parameter.statistic:
                    continue
                part = self._beginning[parameter.offset : parameter.offset + parameter.elements]
                tensors[graphs.beginning(parameter.name)] = part.reshape(parameter.shape)
        for name, values in (*tensors.items(), *self._scalars.items()):
            binding.bind_input(name, "cpu", 0, np.float32, values.shape, values.ctypes.data)
        for name, values in outputs.items():
            binding.bind_output(graphs.new(name), "cpu", 0, np.float32, values.shape, values.ctypes.data)
        binding.bind_output(graphs.LOSS, "cpu", 0, np.float32, (), self._loss.ctypes.data)
        return binding


def _scalars(plan: Plan) -> dict[str, float]:
    """Give a plan's hyperparameters by the names of the graph's inputs."""
    return {
        graphs.MOMENTUM: plan.momentum,
        graphs.BETA1: plan.beta1,
        graphs.BETA2: plan.beta2,
        graphs.EPSILON: plan.epsilon,
        graphs.WEIGHT_DECAY: plan.weight_decay,
        graphs.CLIP_NORM: plan.clip_norm,
        graphs.PROXIMAL: plan.proximal,
        graphs.STEP: 0.0,
    }
