"""Scores an exported model with plain onnxruntime, as any application would run it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from headwater_wire.telemetry import tell_nobody

_BATCH = 500


def score(file: Path, images: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> float:
    """Tell which share of `images` (n, 1, h, w) the classifier in `file` labels as `labels` (n) say."""
    tell_nobody()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    correct = 0
    for start in range(0, len(images), _BATCH):
        (scores,) = session.run(None, {source.name: images[start : start + _BATCH]})
        correct += int((scores.argmax(axis=1) == labels[start : start + _BATCH]).sum())
    return correct / len(images)
