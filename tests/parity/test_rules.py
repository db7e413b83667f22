"""Every rule against PyTorch's autograd, in float32, by the runtime that devices have."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from headwater_control.compiler.autodiff.rules import RULES
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.control_plane.compiler.autodiff.checking import IR, OPSET, Array, Arrays, gradient_model
from tests.parity.rules import TABLE, Case

RELATIVE, ABSOLUTE = 1e-4, 1e-5  # the latter of the largest gradient


@pytest.mark.parametrize("operator", sorted(TABLE))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_rule_gives_what_autograd_gives(operator: str, data: st.DataObject) -> None:
    """Values and gradients agree, whatever the shapes, and whichever inputs grow with the batch."""
    case = data.draw(TABLE[operator])
    tensors = [torch.tensor(values, requires_grad=values.dtype.kind == "f") for values in case.inputs.values()]
    answers = case.function(*tensors)
    answers = dict(zip(case.outputs, (answers,) if len(case.outputs) == 1 else answers, strict=True))
    random = np.random.default_rng(1)
    seeds = {name: np.asarray(random.standard_normal(y.shape), y.detach().numpy().dtype) for name, y in answers.items()}
    found = run(case, seeds)
    for name, y in answers.items():
        np.testing.assert_allclose(found[name], y.detach().numpy(), RELATIVE, ABSOLUTE, err_msg=name)
    expected = gradients(case, tensors, answers, seeds)
    largest = max(float(np.abs(values).max(initial=0)) for values in (*expected.values(), *seeds.values()))
    for name, values in expected.items():
        got = found.get(f"d.{name}", np.zeros_like(values))
        assert (got.shape, got.dtype) == (values.shape, values.dtype), name
        np.testing.assert_allclose(got, values, RELATIVE, ABSOLUTE * largest, err_msg=f"the gradient of {name}")


def test_no_rule_is_left_out() -> None:
    """Each has its function of PyTorch's, or one that is made of these."""
    assert {operator.split()[0] for operator in TABLE} == set(RULES)


def gradients(case: Case, tensors: list[Any], answers: dict[str, Any], seeds: Arrays) -> dict[str, Array]:
    """Let PyTorch differentiate."""
    wanted = {name: tensor for name, tensor in zip(case.inputs, tensors, strict=True) if tensor.requires_grad}
    found = torch.autograd.grad(
        list(answers.values()),
        list(wanted.values()),
        [torch.from_numpy(seed) for seed in seeds.values()],
        materialize_grads=True,
    )
    return {name: gradient.numpy() for name, gradient in zip(wanted, found, strict=True)}


def run(case: Case, seeds: Arrays) -> dict[str, Array]:
    """Differentiate by our rules, and run that as a device does: forwards and backwards in one, optimized."""
    wrt = [name for name, values in case.inputs.items() if values.dtype.kind == "f"]
    made = gradient_model(model(case), case.inputs, seeds, wrt, case.batch)
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in case.outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {**case.inputs, **{f"w.{name}": seed for name, seed in seeds.items()}}
    names = [output.name for output in session.get_outputs()]
    answers = session.run(names, {value.name: feed[value.name] for value in session.get_inputs()})
    return dict(zip(names, answers, strict=True))


def model(case: Case) -> onnx.ModelProto:
    """Make the model of the node alone."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), [None] * values.ndim)
        for name, values in case.inputs.items()
    ]
    constants = [numpy_helper.from_array(values, name) for name, values in case.constants.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in case.outputs]
    graph = helper.make_graph([case.node], "graph", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return onnx.shape_inference.infer_shapes(made)
