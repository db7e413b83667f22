"""y = x · w: as many parameters as wanted, in one of the simplest graphs that train."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_wide_model(file: Path, side: int) -> None:
    """Write a model of `side` × `side` zeros; "x" and "y" are float32 [batch, side]."""
    weight = numpy_helper.from_array(np.zeros((side, side), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", side])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
