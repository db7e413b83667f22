"""Whether ONNX Runtime's training build is here instead of the stock one; it is for x86-64 and Python ≤ 3.12 only."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def _is_here() -> bool:
    spec = find_spec("onnxruntime")
    return bool(spec and spec.origin and (Path(spec.origin).parent / "training" / "api").is_dir())


needs_training_build = pytest.mark.skipif(not _is_here(), reason="onnxruntime is the stock build, without training")
