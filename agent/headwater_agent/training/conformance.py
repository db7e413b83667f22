"""Does an installed model.onnx do on this box what it did on the control plane? Run it, and compare."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from headwater_wire.errors import Malformed
from headwater_wire.tensors import read_tensors

from headwater_agent.training import graph_check
from headwater_agent.training.errors import NotPossible

_SILENT = 4  # what goes wrong is told in the answer

Floats = npt.NDArray[np.float64]


def problem_with(onnx_path: Path, reference_path: Path, tolerance: float) -> str:
    """Run the model on the reference inputs; say what differs by more than tolerance · (1 + |wanted|), or ""."""
    try:
        reference = read_tensors(reference_path)
    except (OSError, Malformed) as error:
        return f"the reference can't be read: {error}"
    inputs = {name.removeprefix("input."): value for name, value in reference.items() if name.startswith("input.")}
    wanted = {name.removeprefix("output."): value for name, value in reference.items() if name.startswith("output.")}
    if not wanted:
        return f"the reference {reference_path.name} names no outputs to compare with"
    try:
        graph_check.check(onnx_path)
    except NotPossible as error:
        return str(error)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    try:
        session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
        got = session.run(list(wanted), inputs)
    except Exception as error:  # it raises a dozen kinds of its own, without a common parent
        return f"the model does not run on this box: {' '.join(str(error).split())[:400]}"
    for (name, want), have in zip(wanted.items(), got, strict=True):
        if have.shape != want.shape or have.dtype != want.dtype:
            return f"the output {name!r} is {have.dtype} {have.shape}, not {want.dtype} {want.shape}"
        if problem := _difference(name, want.astype(np.float64), have.astype(np.float64), tolerance):
            return problem
    return ""


def _difference(name: str, want: Floats, have: Floats, tolerance: float) -> str:
    with np.errstate(invalid="ignore"):
        off = np.where(want == have, 0.0, np.abs(have - want))  # equal infinities are equal
        bad = ~((off <= tolerance * (1 + np.abs(want))) | (np.isnan(want) & np.isnan(have)))
    if not bad.any():
        return ""
    worst = np.nanmax(off) if np.isfinite(off).any() else np.nan
    return (
        f"the output {name!r} differs from the reference by up to {worst:.3g} in {int(bad.sum())} of {bad.size} "
        f"numbers; {tolerance:g} · (1 + |wanted|) is allowed"
    )
