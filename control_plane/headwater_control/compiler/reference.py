"""Runs a model on foreseeable inputs, by plain onnxruntime: for its real output shapes, and for reference outputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from headwater_wire.manifest import TensorSpec
from numpy.typing import NDArray

from headwater_control.compiler.errors import CompileError

Array = NDArray[Any]
_SILENT = 4  # what goes wrong is told in the error


def inputs(specs: Sequence[TensorSpec], examples: int) -> dict[str, Array]:
    """Make the same examples each time: floats from N(0, 1); whole numbers 0 or 1, which any embedding takes."""
    made: dict[str, Array] = {}
    for place, spec in enumerate(specs):
        random = np.random.default_rng(place)  # its own: fewer examples are the first of more
        shape = (examples, *spec.shape)
        floats = np.dtype(spec.dtype).kind == "f"
        values: Array = random.standard_normal(shape) if floats else random.integers(0, 2, shape)
        made[spec.name] = values.astype(spec.dtype)
    return made


def run(model: bytes, *feeds: dict[str, Array]) -> list[dict[str, Array]]:
    """Give the model's outputs by name, for one feed after the other; raise `CompileError` if it does not run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = 1
    examples = 0
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        answers = []
        for feed in feeds:
            examples = len(next(iter(feed.values()), ()))
            answers.append(dict(zip(names, session.run(names, feed), strict=True)))
    except Exception as error:  # it raises a dozen kinds of its own, without a common parent
        raise CompileError(
            f"the model does not run on a batch of {examples}: {' '.join(str(error).split())[:500]} "
            "(a Reshape with the batch size written into it is the usual cause)"
        ) from error
    return answers
