"""ONNX Runtime's training build, imported without the PyTorch its package asks for, and made quiet."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import onnxruntime

_PACKAGE = "onnxruntime.training"
_ERRORS_ONLY = 3


def _import_without_torch() -> None:
    """Put a bare parent in place: only the package's `__init__` needs PyTorch, the modules below it do not."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise ImportError("onnxruntime has no place on disk")
    parent = ModuleType(_PACKAGE)
    parent.__path__ = [str(Path(spec.origin).parent / "training")]
    sys.modules.setdefault(_PACKAGE, parent)


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    return options


_import_without_torch()
onnxruntime.set_default_logger_severity(_ERRORS_ONLY)

from onnxruntime.training import artifacts  # noqa: E402  (only now can it be imported)
from onnxruntime.training.api import CheckpointState, Module, Optimizer  # noqa: E402
from onnxruntime.training.onnxblock import _training_graph_utils  # noqa: E402

# The gradient builder makes options of its own and tells of every graph transformation; nothing else reaches them.
_training_graph_utils.SessionOptions = _quiet

__all__ = ["CheckpointState", "Module", "Optimizer", "artifacts", "session_options"]


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Give options for a box that does other work too: no spinning, no memory pattern, a bounded number of threads."""
    options = _quiet()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
