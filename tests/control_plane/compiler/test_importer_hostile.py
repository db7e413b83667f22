"""Random models are taken, and train; broken and odd ones are refused in a sentence. `tests.fuzz_import` tries more."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.importer import make_bundle
from onnx import helper

from tests.control_plane.compiler.graphs import INT64, N, graph_path, info, model, save, weights
from tests.fuzz_import import Child, case

FILES = 60


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """A process that may die of a file."""
    with Child() as started:
        yield started


@pytest.mark.parametrize("start", range(1, FILES, 20))
def test_a_file_is_refused_in_a_sentence_or_its_step_runs(child: Child, start: int) -> None:
    """And what is valid is taken, with a gradient that agrees with differences of its loss."""
    outcomes = {seed: child.check(seed) for seed in range(start, start + 20)}
    assert {seed: outcome.finding for seed, outcome in outcomes.items() if outcome.finding} == {}
    assert sum(outcome.compared for outcome in outcomes.values()) > 3
    assert {"imported", "refused"} <= {outcome.end for outcome in outcomes.values()}


def test_a_seed_gives_the_same_file() -> None:
    """What is found can be found again."""
    assert case(7) == case(7) != case(8)


def refusal(folder: Path, proto: onnx.ModelProto) -> str:
    """Import what can't be, and give the reason."""
    with pytest.raises(CompileError) as caught:
        make_bundle(save(folder / "model.onnx", proto), folder / "bundle", "net", "mse")
    return str(caught.value)


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    """They have no end to be written out to; nor has a call with inputs that the function lacks."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    for body, more in ((N("Layer", ["a"], ["b"], domain="acme"), []), (N("Relu", ["a"], ["b"]), ["x"])):
        nodes = [N("Layer", ["x", *more], ["h"], domain="acme"), N("MatMul", ["h", "w"], ["y"])]
        proto = model(nodes, {"w": weights(8, 3)}, domains=["acme"])
        proto.functions.append(helper.make_function("acme", "Layer", ["a"], ["b"], [body], opsets))
        assert "functions can't be inlined" in refusal(tmp_path, proto)


@pytest.mark.parametrize("shape", [[3, 10**9], [2**62], [10**7, 10**7], [-5, -5]])
def test_a_constant_that_no_memory_holds_is_refused(tmp_path: Path, shape: list[int]) -> None:
    """A few bytes of file may ask for terabytes."""
    nodes = [
        N("ConstantOfShape", ["vast"], ["c"], name="vast_one"),
        N("ReduceMax", ["c"], ["top"], keepdims=0),
        N("MatMul", ["x", "w"], ["h"]),
        N("Add", ["h", "top"], ["y"]),
    ]
    reason = refusal(tmp_path, model(nodes, {"w": weights(8, 3), "vast": np.array(shape, np.int64)}))
    assert "'vast_one' (ConstantOfShape)" in reason or "no valid model" in reason


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Protobuf lets any bytes through as a name."""
    data = model([N("MatMul", ["x", "weight"], ["y"])], {"weight": weights(8, 3)}).SerializeToString()
    (tmp_path / "model.onnx").write_bytes(data.replace(b"weight", b"we\x96ght"))
    with pytest.raises(CompileError, match="is no text"):
        make_bundle(tmp_path / "model.onnx", tmp_path / "bundle", "net", "mse")


def test_a_type_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """A number beyond the last one that ONNX knows."""
    proto = model([N("MatMul", ["x", "w"], ["y"])], {"w": weights(8, 3)})
    proto.graph.initializer[0].data_type = 99
    assert "no valid model" in refusal(tmp_path, proto)


@pytest.mark.parametrize("name", ["label", "hw.loss", "hw.learning_rate", "hw.new.w", "hw.constant.0", "hw.Mul.1"])
def test_a_tensor_may_not_be_called_as_one_of_the_training_graphs_is(tmp_path: Path, name: str) -> None:
    """An inner one, or a parameter; one that the loss does not need may."""
    inner = model([N("MatMul", ["x", "w"], [name]), N("Tanh", [name], ["y"])], {"w": weights(8, 3)})
    parameter = model([N("MatMul", ["x", name], ["y"])], {name: weights(8, 3)})
    for place, proto in enumerate((inner, parameter)):
        told = f"a tensor of the model is called '{name}', as one of Headwater's own is: rename it"
        assert refusal(tmp_path / str(place), proto) == told
    aside = model(
        [N("MatMul", ["x", "w"], ["y"]), N("ArgMax", ["y"], [name], axis=1)],
        {"w": weights(8, 3)},
        outputs=[info("y", ["batch", 3]), info(name, ["batch", 1], INT64)],
    )
    assert make_bundle(save(tmp_path / "a.onnx", aside), tmp_path / "a", "net", "mse", output="y").elements == 24


def test_what_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    """An input, an output, or all that could train."""
    graphs = {
        "the input 'x' is [batch, 0]": model(
            [N("MatMul", ["x", "w"], ["y"])], {"w": weights(0, 3)}, [info("x", ["b", 0])]
        ),
        "the output 'y' is [batch, 0]": model([N("MatMul", ["x", "w"], ["y"])], {"w": weights(8, 0)}),
        "nothing to train: w hold no numbers": model([N("Concat", ["x", "w"], ["y"], axis=0)], {"w": weights(0, 8)}),
    }
    for place, (told, proto) in enumerate(graphs.items()):
        del proto.graph.output[0].type.tensor_type.shape.dim[1:]
        proto.graph.output[0].type.tensor_type.shape.dim.add()
        assert told in refusal(tmp_path / str(place), proto)


def test_nodes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Names are for people: some exporters give the same one twice, which onnxruntime refuses."""
    nodes = [N("MatMul", ["x", "w"], ["h"], name="one"), N("Tanh", ["h"], ["t"], name="one"), N("Neg", ["t"], ["y"])]
    made = make_bundle(save(tmp_path / "m.onnx", model(nodes, {"w": weights(8, 3)})), tmp_path / "b", "net", "mse")
    assert [node.name for node in onnx.load(graph_path(made)).graph.node] == ["one", "one_1", "Neg_2"]


def test_a_custom_node_without_name_and_outputs_is_refused(tmp_path: Path) -> None:
    """There is nothing to call it by."""
    nodes = [N("Magic", ["x"], [], domain="acme"), N("MatMul", ["x", "w"], ["y"])]
    assert "custom domain 'acme' (Magic)" in refusal(tmp_path, model(nodes, {"w": weights(8, 3)}, domains=["acme"]))
