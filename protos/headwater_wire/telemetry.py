"""Keeps ONNX Runtime, which from 1.31 on tells its maker of each session on Linux too, from telling anybody."""

import os


def tell_nobody() -> None:
    """Switch it off in this process and its children; before onnxruntime is imported, or it has written its id."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
