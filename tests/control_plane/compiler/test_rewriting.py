"""What is written anew before anything else looks at a model: it says the same afterwards."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from headwater_control.compiler import checks, reference
from headwater_control.compiler.errors import CompileError
from onnx import helper, numpy_helper

from tests.control_plane.compiler.graphs import INT64, N, info, model, weights

Array = npt.NDArray[Any]
SCOPES = "pkg.torch.onnx.name_scopes"


def read(folder: Path, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Read a model from a file."""
    onnx.save(proto, folder / "net.onnx")
    return checks.read(folder / "net.onnx")


def answer(proto: onnx.ModelProto, x: Array) -> Array:
    """Give the first output."""
    (found,) = reference.run(proto.SerializeToString(), {proto.graph.input[0].name: x})
    return found[proto.graph.output[0].name]


def names(proto: onnx.ModelProto) -> set[str]:
    """Name the initializers."""
    return {tensor.name for tensor in proto.graph.initializer}


# -- the batch


def flattening(shape: list[int], *, batch: int = 1) -> onnx.ModelProto:
    """Make a model of a fixed batch size that writes this size into a Reshape."""
    nodes = [N("Reshape", ["x", "shape"], ["a"]), N("MatMul", ["a", "w"], ["y"])]
    tensors = {"shape": np.array(shape), "w": weights(8, 3)}
    return model(nodes, tensors, [info("x", [batch, 2, 4])], [info("y", [batch, 3])])


@pytest.mark.parametrize(("batch", "shape"), [(1, [1, 8]), (1, [1, -1]), (4, [4, 8]), (4, [4, -1]), (4, [0, 8])])
def test_a_fixed_batch_size_is_freed(tmp_path: Path, batch: int, shape: list[int]) -> None:
    """Any number of examples goes in, and each gives what it gives alone."""
    proto = flattening(shape, batch=batch)
    freed = read(tmp_path, proto)
    x = np.random.default_rng(0).standard_normal((3 * batch, 2, 4)).astype(np.float32)
    expected = np.concatenate([answer(proto, part) for part in np.split(x, 3)])
    np.testing.assert_allclose(answer(freed, x), expected, rtol=1e-6)
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in freed.graph.input] == ["batch"]


@pytest.mark.parametrize(
    "node",
    [
        N("Softmax", ["x"], ["y"], axis=0),  # it mixes the examples
        N("Reshape", ["x", "shape"], ["y"]),  # what comes first is not the batch
    ],
)
def test_a_first_axis_that_is_no_batch_stays(tmp_path: Path, node: onnx.NodeProto) -> None:
    """The examples would depend on each other."""
    tensors = {"shape": np.array([4, 4])} if node.op_type == "Reshape" else {}
    proto = model([N("Transpose", ["input"], ["x"]), node], tensors, [info("input", [4, 4])], [info("y", [4, 4])])
    kept = read(tmp_path, proto)
    assert kept.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4


# -- the Softmax before opset 13


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_an_old_softmax_over_one_axis_is_the_present_one(tmp_path: Path, kind: str) -> None:
    """Behind a global average pool, the axes that the old one flattened are of size 1."""
    nodes = [N("GlobalAveragePool", ["x"], ["a"]), N(kind, ["a"], ["y"])]
    proto = model(nodes, {}, [info("x", ["b", 5, 3, 3])], [info("y", ["b", 5, 1, 1])], opset=9)
    made = read(tmp_path, proto)
    assert [node.op_type for node in made.graph.node] == ["GlobalAveragePool", kind]
    x = weights(2, 5, 3, 3)
    np.testing.assert_allclose(answer(made, x), answer(proto, x), rtol=1e-6)


def test_an_old_softmax_over_several_axes_stays(tmp_path: Path) -> None:
    """It has no other form."""
    proto = model([N("Softmax", ["x"], ["y"])], {}, [info("x", ["b", 5, 3])], [info("y", ["b", 5, 3])], opset=9)
    made = read(tmp_path, proto)
    x = weights(2, 5, 3)
    np.testing.assert_allclose(answer(made, x), answer(proto, x), rtol=1e-6)


# -- sequences


def sequenced(nodes: list[onnx.NodeProto], tensors: dict[str, Array], width: int = 6) -> onnx.ModelProto:
    """Make a model from "x" [batch, 6] to "y"."""
    constants = {"zero": np.array(0), "one": np.array(1), "last": np.array(-1), **tensors}
    return model(nodes, constants, [info("x", ["b", 6])], [info("y", ["b", width])])


def test_a_sequence_of_parts_becomes_a_split(tmp_path: Path) -> None:
    """Equal parts, of which the last may be shorter; those of a list; and single slices without their axis."""
    nodes = [
        N("SplitToSequence", ["x", "four"], ["s"], axis=1),
        N("SequenceAt", ["s", "last"], ["a"]),
        N("SplitToSequence", ["x", "sizes"], ["t"], axis=-1),
        N("SequenceAt", ["t", "zero"], ["b"]),
        N("SplitToSequence", ["x"], ["u"], axis=1, keepdims=0),
        N("SequenceAt", ["u", "one"], ["c"]),
        N("Unsqueeze", ["c", "axes"], ["d"]),
        N("Concat", ["a", "b", "d"], ["y"], axis=1),
    ]
    proto = sequenced(nodes, {"four": np.array(4), "sizes": np.array([1, 5]), "axes": np.array([1])}, 4)
    made = read(tmp_path, proto)
    x = weights(3, 6)
    np.testing.assert_array_equal(answer(made, x), x[:, [4, 5, 0, 1]])
    assert "SplitToSequence" not in {node.op_type for node in made.graph.node}


@pytest.mark.parametrize("new_axis", [0, 1])
def test_a_sequence_that_is_built_up_becomes_a_concat(tmp_path: Path, new_axis: int) -> None:
    """Inserted, erased, and joined along an axis that was there, or a new one."""
    nodes = [
        N("Neg", ["x"], ["n"]),
        N("SequenceEmpty", [], ["s0"]),
        N("SequenceInsert", ["s0", "x"], ["s1"]),
        N("SequenceInsert", ["s1", "n", "zero"], ["s2"]),
        N("SequenceConstruct", ["x", "n", "x"], ["s3"]),
        N("SequenceErase", ["s3", "one"], ["s4"]),
        N("SequenceAt", ["s4", "one"], ["a"]),
        N("SequenceInsert", ["s2", "a"], ["s5"]),
        N("ConcatFromSequence", ["s5"], ["joined"], axis=1, new_axis=new_axis),
        N("Flatten", ["joined"], ["y"]),
    ]
    made = read(tmp_path, sequenced(nodes, {}, 18))
    x = weights(3, 6)
    np.testing.assert_array_equal(answer(made, x), np.concatenate([-x, x, x], 1))


def test_a_sequence_whose_places_are_computed_is_refused(tmp_path: Path) -> None:
    """With the node, its operator, and what to do."""
    nodes = [N("SplitToSequence", ["x"], ["s"], axis=1), N("SequenceAt", ["s", "place"], ["y"], name="choose")]
    inputs = [info("x", ["b", 6]), info("place", [], INT64)]
    proto = model(nodes, {}, inputs, [info("y", ["b", 1])])
    with pytest.raises(CompileError, match=r"'choose' \(SequenceAt\) .* computed: export the model with fixed sizes"):
        read(tmp_path, proto)


def test_a_place_beyond_a_sequence_is_refused(tmp_path: Path) -> None:
    """As one that is not there."""
    nodes = [N("SequenceConstruct", ["x", "x"], ["s"]), N("SequenceAt", ["s", "far"], ["y"], name="choose")]
    with pytest.raises(CompileError, match=r"'choose' \(SequenceAt\) .* nothing at its place 2"):
        read(tmp_path, sequenced(nodes, {"far": np.array(2)}))


# -- constants that an exporter merged


def scoped(node: onnx.NodeProto, module: str) -> onnx.NodeProto:
    """Say from which module a node comes, as PyTorch's exporter does."""
    node.metadata_props.add(key=SCOPES, value=str(["", module, "call"]))
    return node


def normalized(scale: Array, *modules: str) -> onnx.ModelProto:
    """Make a model of LayerNormalizations that all read the same two constants."""
    nodes, value = [], "x"
    for place, module in enumerate(modules):
        output = "y" if place == len(modules) - 1 else f"h{place}"
        nodes.append(scoped(N("LayerNormalization", [value, "n1.weight", "n1.bias"], [output]), module))
        value = output
    tensors = {"n1.weight": scale, "n1.bias": np.zeros(8, np.float32)}
    return model(nodes, tensors, [info("x", ["b", 8])], [info("y", ["b", 8])])


def test_equal_scales_of_several_modules_are_apart(tmp_path: Path) -> None:
    """Each has the name it had in PyTorch."""
    made = read(tmp_path, normalized(np.ones(8, np.float32), "n1", "n2"))
    assert names(made) == {"n1.weight", "n1.bias", "n2.weight", "n2.bias"}


def test_what_one_module_reads_twice_is_shared(tmp_path: Path) -> None:
    """So are weights whose numbers differ, whoever reads them."""
    assert names(read(tmp_path, normalized(np.ones(8, np.float32), "n1", "n1"))) == {"n1.weight", "n1.bias"}
    assert "n2.weight" not in names(read(tmp_path, normalized(weights(8), "n1", "n2")))


def test_a_running_mean_is_nobody_s_bias(tmp_path: Path) -> None:
    """Even if no exporter tells where the node comes from."""
    node = N("BatchNormalization", ["x", "one", "zero", "zero", "one"], ["y"])
    tensors = {"one": np.ones(8, np.float32), "zero": np.zeros(8, np.float32)}
    made = read(tmp_path, model([node], tensors, [info("x", ["b", 8])], [info("y", ["b", 8])]))
    assert names(made) == {"one", "zero", "zero.running_mean", "one.running_var"}


def test_an_identity_of_a_weight_read_the_same_way_is_another_weight(tmp_path: Path) -> None:
    """An embedding that is the output's weights too stays one."""
    nodes = [
        N("Identity", ["first"], ["second"]),
        N("MatMul", ["x", "first"], ["a"]),
        N("MatMul", ["a", "second"], ["b"]),
        N("Identity", ["first"], ["third"]),
        N("Transpose", ["third"], ["t"]),
        N("MatMul", ["b", "t"], ["y"]),
    ]
    made = read(tmp_path, model(nodes, {"first": weights(8, 8)}, [info("x", ["b", 8])], [info("y", ["b", 8])]))
    assert names(made) == {"first", "second"}


def test_a_constant_of_a_constant_shape_is_a_constant(tmp_path: Path) -> None:
    """Whether a file holds the numbers or says how many there are of one."""
    value = numpy_helper.from_array(np.array([0.5], np.float32))
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["w"], value=value), N("MatMul", ["x", "w"], ["y"])]
    made = read(tmp_path, model(nodes, {"shape": np.array([8, 3])}))
    (found,) = made.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(found), np.full((8, 3), 0.5, np.float32))
