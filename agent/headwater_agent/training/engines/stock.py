"""Sessions of the stock ONNX Runtime, opened for a box that does other work too."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from headwater_wire import graphs
from headwater_wire.manifest import Parameter
from headwater_wire.messages import Plan

from headwater_agent.training import graph_check
from headwater_agent.training.engine import Vector

Constants = Mapping[str, npt.NDArray[Any]]
_ERRORS_ONLY = 3
_MAX_THREADS = 8  # where the box decides: on more, small models get slower
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the better one first


class Runtime:
    """Opens graphs that share their large constants."""

    def __init__(self, threads: int, constants: Constants, *, spin: bool) -> None:
        """Take how many threads (0: as many as there are processors, up to 8), and whether they may wait busily.

        They do so within a step only: it is up to a quarter faster, and between steps the processors are free.
        """
        self._spin = spin
        self.constants = constants  # the runtime refers to their memory
        self._threads = threads or min(len(os.sched_getaffinity(0)), _MAX_THREADS)
        self._values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(values) for name, values in constants.items()}

    def session(self, path: str, *, frozen: bool = True) -> onnxruntime.InferenceSession:
        """Open a graph; `frozen`: it reads the constants. Raise `NotPossible` for one that must not be run."""
        graph_check.check(Path(path), self._values if frozen else ())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if self._spin else "0")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if frozen:
            options.add_external_initializers(list(self._values), list(self._values.values()))
        return onnxruntime.InferenceSession(path, options, providers=providers(onnxruntime.get_available_providers()))


def providers(available: Sequence[str]) -> list[str]:
    """Choose what runs the graphs, of what this box's ONNX Runtime has; it passes on what the first can't."""
    return [name for name in _PROVIDERS if name in available]


def views(vector: Vector, parameters: tuple[Parameter, ...]) -> dict[str, Vector]:
    """Give each parameter's part of a flat vector, in its shape, by its name."""
    return {p.name: vector[p.offset : p.offset + p.elements].reshape(p.shape) for p in parameters}


def bind_inputs(binding: onnxruntime.IOBinding, tensors: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Let a graph read its inputs from where they lie."""
    for name, values in tensors.items():
        binding.bind_input(name, "cpu", 0, np.float32, values.shape, values.ctypes.data)


def bind_outputs(binding: onnxruntime.IOBinding, tensors: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Let a graph write its outputs to where they shall lie."""
    for name, values in tensors.items():
        binding.bind_output(name, "cpu", 0, np.float32, values.shape, values.ctypes.data)


def scalars(plan: Plan) -> dict[str, float]:
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
