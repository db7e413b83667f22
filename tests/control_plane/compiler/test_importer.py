"""From an ONNX file to a bundle, and what is said when that can't be."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from headwater_control.compiler import checks, importer, losses, proof, reference
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.importer import Imported, import_model, make_bundle
from headwater_wire import digests, manifest, tensors
from headwater_wire.manifest import Loss, Parameter, TensorSpec
from onnx import TensorProto, helper, numpy_helper

from tests.control_plane.compiler.graphs import FLOAT, INT64, N, graph_path, info, mlp, model, save, weights


def bundle(
    folder: Path, proto: onnx.ModelProto, loss: str = "cross_entropy", *trainable: str, output: str = ""
) -> Imported:
    """Make a bundle, without the proof that it trains, which takes a process of its own."""
    return make_bundle(save(folder / "model.onnx", proto), folder / "bundle", "net", loss, trainable, output)


def bring(
    folder: Path, proto: onnx.ModelProto, loss: str = "cross_entropy", *trainable: str, output: str = ""
) -> Imported:
    """Import a model."""
    return import_model(save(folder / "model.onnx", proto), folder / "bundle", "net", loss, trainable, output)


def refusal(
    folder: Path, proto: onnx.ModelProto, loss: str = "cross_entropy", *trainable: str, output: str = ""
) -> str:
    """Import what can't be, and give the reason."""
    with pytest.raises(CompileError) as caught:
        bring(folder, proto, loss, *trainable, output=output)
    return str(caught.value)


# ── what becomes a bundle ──


def test_a_bundle_is_what_a_device_needs(tmp_path: Path) -> None:
    """Manifest, graph and first version agree with each other and with the model."""
    proto = mlp()
    imported = bundle(tmp_path, proto)
    described = manifest.parse(imported.manifest_path.read_bytes())
    assert described.graph == digests.of_file(graph_path(imported))
    assert described.inputs == (TensorSpec("x", "float32", (8,)),)
    assert described.outputs == (TensorSpec("y", "float32", (3,)),)
    assert described.loss == Loss("cross_entropy", "y", TensorSpec("label", "int64", ()), 3)
    assert described.parameters == (
        Parameter("w1", (8, 5), 0),
        Parameter("b1", (5,), 40),
        Parameter("w2", (5, 3), 45),
        Parameter("b2", (3,), 60),
    )
    assert imported.elements == described.elements == 63
    with tensors.open_vector(imported.parameters_path, described) as floats:
        wanted = [numpy_helper.to_array(tensor).reshape(-1) for tensor in proto.graph.initializer]
        assert np.array_equal(floats.load(), np.concatenate(wanted))
    assert imported.notes == ()


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    """A bundle is content-addressed, so importing twice is importing once."""
    one, other = bundle(tmp_path / "one", mlp()), bundle(tmp_path / "other", mlp())
    for name in ("manifest_path", "parameters_path"):
        assert getattr(one, name).read_bytes() == getattr(other, name).read_bytes()


def test_what_exporters_write_beside_the_graph_is_left_out(tmp_path: Path) -> None:
    """Stack traces and paths in doc strings and metadata don't travel to devices."""
    proto = mlp()
    proto.graph.node[0].doc_string = "/home/somebody/secret.py"
    proto.doc_string = proto.producer_version = "/home/somebody"
    proto.metadata_props.add(key="path", value="/home/somebody")
    assert b"somebody" not in graph_path(bundle(tmp_path, proto)).read_bytes()


def test_patterns_choose_what_trains(tmp_path: Path) -> None:
    """With --trainable the others are frozen, told so, and vouched for by their digests."""
    imported = bundle(tmp_path, mlp(), "cross_entropy", "w2", "b?")
    described = manifest.parse(imported.manifest_path.read_bytes())
    assert [parameter.name for parameter in described.parameters] == ["b1", "w2", "b2"]
    assert described.frozen == ("w1",) and described.frozen_digests == (importer.digest(weights(8, 5)),)
    assert imported.notes == ("'w1' is frozen: no selector names it",)


@pytest.mark.parametrize(
    ("operator", "loss"),
    [("Softmax", "cross_entropy"), ("LogSoftmax", "cross_entropy"), ("Sigmoid", "bce_with_logits")],
)
def test_a_last_operator_that_the_loss_repeats_is_left_out_of_training(
    tmp_path: Path, operator: str, loss: str
) -> None:
    """The loss reads what goes into it; the graph keeps it, and a note says so."""
    proto = model(
        [N("MatMul", ["x", "w"], ["s"], name="scores"), N(operator, ["s"], ["y"], name="last")], {"w": weights(8, 3)}
    )
    imported = bring(tmp_path, proto, loss)
    described = manifest.parse(imported.manifest_path.read_bytes())
    assert (described.loss.output, described.outputs[0].name) == ("s", "y")
    assert [node.op_type for node in onnx.load(graph_path(imported)).graph.node] == ["MatMul", operator]
    assert f"'last' ({operator}), is left out while training" in imported.notes[0]


def test_a_softmax_over_another_axis_stays(tmp_path: Path) -> None:
    """Only what the loss itself does may be left out."""
    graph = model([N("MatMul", ["x", "w"], ["s"]), N("Softmax", ["s"], ["y"], axis=0)], {"w": weights(8, 3)}).graph
    loss, note = losses.choose(graph, (TensorSpec("y", "float32", (3,)),), "cross_entropy", "")
    assert (loss.output, note) == ("y", "")


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    """Each input becomes a column; --output says which output the loss reads; integers feed embeddings."""
    nodes = [
        N("Gather", ["table", "word"], ["e"], name="look"),
        N("MatMul", ["x", "w"], ["h"], name="times"),
        N("Add", ["e", "h"], ["y"], name="both"),
        N("Identity", ["h"], ["z"], name="other"),
    ]
    tensors_ = {"table": weights(6, 3), "w": weights(8, 3)}
    inputs = [info("x", ["batch", 8]), info("word", ["batch"], INT64)]
    proto = model(nodes, tensors_, inputs, [info("y", ["batch", 3]), info("z", ["batch", 3])])
    assert "several outputs (y, z): say by --output" in refusal(tmp_path, proto)
    assert "has no output 'q'; it has y, z" in refusal(tmp_path, proto, output="q")
    imported = bring(tmp_path, proto, "mse", output="y")
    described = manifest.parse(imported.manifest_path.read_bytes())
    assert described.inputs == (TensorSpec("x", "float32", (8,)), TensorSpec("word", "int64", ()))
    assert described.loss == Loss("mse", "y", TensorSpec("label", "float32", (3,)))
    assert [parameter.name for parameter in described.parameters] == ["table", "w"]


def test_parameters_hidden_in_constant_nodes_and_inputs_are_found(tmp_path: Path) -> None:
    """Whatever way the exporter wrote a constant, it trains; a single number does only if it is named."""
    proto = model(
        [
            N("Constant", [], ["w"], value=numpy_helper.from_array(weights(8, 3), "anything")),
            N("Constant", [], ["half"], value_float=0.5),
            N("MatMul", ["x", "w"], ["h"]),
            N("Add", ["h", "b"], ["a"]),
            N("Mul", ["a", "half"], ["y"]),
        ],
        {"b": weights(3), "unused": weights(2)},
        [
            info("x", ["batch", 8]),
            info("b", [3]),
            info("unused", [2]),
        ],  # old exporters list initializers among the inputs
        ir=3,
    )
    imported = bring(tmp_path / "all", proto)
    described = manifest.parse(imported.manifest_path.read_bytes())
    assert {parameter.name for parameter in described.parameters} == {"w", "b"}
    assert [spec.name for spec in described.inputs] == ["x"] and described.frozen == ("half",)
    assert "'half' is frozen: a single number; name it to train it" in imported.notes
    assert bundle(tmp_path / "half", proto, "cross_entropy", "half").elements == 1


def test_constants_that_only_steer_are_frozen_with_the_reason(tmp_path: Path) -> None:
    """Running statistics, other dtypes and bounds don't train, and each is told why."""
    nodes = [
        N("MatMul", ["x", "w"], ["a"], name="times"),
        N("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["n"], name="norm"),
        N("Clip", ["n", "", "top"], ["c"], name="clip"),
        N("Cast", ["wide"], ["narrow"], to=FLOAT, name="cast"),
        N("Mul", ["c", "narrow"], ["y"], name="scale"),
    ]
    tensors_ = {
        "w": weights(8, 3),
        "scale": np.ones(3, np.float32),
        "shift": np.zeros(3, np.float32),
        "mean": np.zeros(3, np.float32),
        "var": np.ones(3, np.float32),
        "top": np.float32(6),
        "wide": np.ones(3, np.float64),
    }
    imported = bring(tmp_path, model(nodes, {name: np.asarray(values) for name, values in tensors_.items()}))
    told = " | ".join(imported.notes)
    assert "'mean' is frozen: it is a running statistic of the node 'norm'" in told
    assert "'top' is frozen: no derivative flows from it to the loss (it feeds the node 'clip', Clip)" in told
    assert "'wide' is frozen: it is double; only float32 trains" in told
    assert "BatchNormalization trains with its running statistics fixed" in told
    described = manifest.parse(imported.manifest_path.read_bytes())
    assert [parameter.name for parameter in described.parameters] == ["w", "scale", "shift"]
    assert refusal(tmp_path, model(nodes, {n: np.asarray(v) for n, v in tensors_.items()}), "mse", "var").startswith(
        "'var', which 'var' names, can't train: it is a running statistic"
    )


# ── what is refused ──


def plain(inputs: list[onnx.ValueInfoProto] | None = None, **options: int) -> onnx.ModelProto:
    """Make the smallest model, from the given inputs."""
    name = inputs[0].name if inputs else "x"
    return model([N("MatMul", [name, "w"], ["y"], name="times")], {"w": weights(8, 3)}, inputs, **options)  # type: ignore[arg-type]


def external() -> onnx.ModelProto:
    """Make a model whose weights lie beside it."""
    proto = plain()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return proto


def chain(operator: str, **attributes: object) -> onnx.ModelProto:
    """Make a model with an operator between two layers."""
    nodes = [
        N("MatMul", ["x", "w1"], ["a"], name="first"),
        N(operator, ["a"], ["b"], name="middle", **attributes),
        N("MatMul", ["b", "w2"], ["y"], name="second"),
    ]
    return model(nodes, {"w1": weights(8, 5), "w2": weights(5, 3)})


@pytest.mark.parametrize(
    ("make", "loss", "told"),
    [
        (lambda: plain([info("x", [1, 8])]), "mse", "'x' has the fixed batch size 1: export the model with a"),
        (lambda: plain([info("x", ["b", "length"])]), "mse", "'x' is dynamic in axis 1 (length) too: only the first"),
        (lambda: model([N("Mul", ["x", "w"], ["y"])], {"w": weights(3)}, [info("x", [])], [info("y", [3])]),
         "mse", "'x' has no batch axis"),
        (lambda: plain([info("label", ["b", 8])]), "mse", "may not be called 'label'"),
        (lambda: plain([info("x", ["b", 8], TensorProto.STRING)]), "mse", "the file is no valid model"),
        (lambda: plain(opset=6), "mse", "uses opset 6; 7 to 25 can be trained: export it with opset_version=18"),
        (lambda: plain(opset=26, ir=10), "mse", "uses opset 26; 7 to 25"),
        (external, "mse", "'w' lies in a file beside the model: save the model as one file"),
        (lambda: model([N("Magic", ["x"], ["y"], domain="acme", name="m")], {}, domains=["acme"]), "mse",
         "'m' is of the custom domain 'acme' (Magic): devices know only ONNX's own operators"),
        (lambda: model([N("MatMul", ["x", "w"], ["y"]), N("Relu", ["gone"], ["z"])], {"w": weights(8, 3)}), "mse",
         "the file is no valid model"),
        (mlp, "hinge", "there is no loss 'hinge'; choose one of cross_entropy, bce_with_logits, mse"),
        (lambda: model([N("ReduceSum", ["x", "axes"], ["y"])], {"axes": np.array([1])}, None, [info("y", ["b", 1])]),
         "mse", "has nothing to train"),
        (lambda: model([N("MatMul", ["x", "w"], ["y"])], {"w": weights(8, 1)}, None, [info("y", ["b", 1])]),
         "cross_entropy", "needs one score per class; the output 'y' is [batch, 1]"),
        (lambda: model([N("MatMul", ["x", "w"], ["s"]), N("ArgMax", ["s"], ["y"], axis=1)], {"w": weights(8, 3)}, None,
                       [info("y", ["b", 1], INT64)]), "mse", "the output 'y' is int64; a loss reads float32"),
        (lambda: model([N("Reshape", ["x", "to"], ["r"], name="fixed"), N("MatMul", ["r", "w"], ["y"])],
                       {"to": np.array([1, 8]), "w": weights(8, 3)}), "mse", "Name:'fixed'"),
        (lambda: model([N("MatMul", ["x", "w"], ["s"]), N("ReduceMean", ["s"], ["y"], axes=[0])],
                       {"w": weights(8, 3)}, None, [info("y", [1, 3])]), "mse", "its first axis must be the batch"),
        (lambda: model([N("MatMul", ["x", "w"], ["s"]), N("RandomNormalLike", ["s"], ["n"]),
                        N("Add", ["s", "n"], ["y"])], {"w": weights(8, 3)}),
         "mse", "is not the same twice on the same input: export the model in evaluation mode"),
        (lambda: model([N("MatMul", ["x", "w"], ["y"])], {"w": np.full((8, 3), np.nan, np.float32)}), "mse",
         "has nothing to train"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_used_is_refused_with_advice(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], loss: str, told: str
) -> None:
    """The message names what is in the way, and what to do about it; nothing is left behind as a bundle."""
    assert told in refusal(tmp_path, make(), loss)


def test_a_pattern_that_names_nothing_lists_what_there_is(tmp_path: Path) -> None:
    """A typing error in --trainable doesn't train everything, or nothing, silently."""
    reason = refusal(tmp_path, mlp(), "cross_entropy", "w1", "head*")
    assert reason == "no parameter's name matches 'head*'; those that can train are w1, b1, w2, b2"


@pytest.mark.parametrize("content", [b"", b"\x08\x08", b"not a model", b"\xff" * 100])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Any bytes end in a sentence."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(CompileError, match="the file is no ONNX file"):
        import_model(path, tmp_path / "bundle", "net", "mse")


def test_a_missing_file_and_a_bad_name_are_told(tmp_path: Path) -> None:
    """The path, and the rule for names."""
    with pytest.raises(CompileError, match="none can't be read: No such file"):
        import_model(tmp_path / "none", tmp_path / "bundle", "net", "mse")
    with pytest.raises(CompileError, match=r"model '\.\./net' is not a name"):
        import_model(save(tmp_path / "model.onnx", mlp()), tmp_path / "bundle", "../net", "mse")


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    """Its size is told; a sparse file shows that it isn't read."""
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(checks.MAX_BYTES + 1)
    with pytest.raises(CompileError, match="is the limit for a model trained on devices"):
        import_model(path, tmp_path / "bundle", "net", "mse")


def test_a_newer_ir_version_is_written_down_again(tmp_path: Path) -> None:
    """The oldest runtime reads versions to 10; a checked model of a known opset loses nothing by it."""
    proto = mlp()
    proto.ir_version = 13
    assert onnx.load(graph_path(bundle(tmp_path, proto))).ir_version == 10


# ── what can't be trained ──


@pytest.mark.parametrize("operator", ["Shrink", "Det"])
def test_an_operator_without_derivative_is_named_with_what_to_do(tmp_path: Path, operator: str) -> None:
    """The node, the operator, and what could train all the same."""
    if operator == "Det":
        nodes = [
            N("MatMul", ["x", "w1"], ["a"], name="first"),
            N("Reshape", ["a", "square"], ["s"], name="square"),
            N("Det", ["s"], ["d"], name="middle"),
            N("Unsqueeze", ["d", "one"], ["u"], name="column"),
            N("MatMul", ["u", "w2"], ["y"], name="second"),
        ]
        constants = {"square": np.array([-1, 2, 2]), "one": np.array([1])}
        proto = model(nodes, {"w1": weights(8, 4), "w2": weights(1, 3), **constants})
    else:
        proto = chain(operator)
    reason = refusal(tmp_path, proto)
    assert f"the node 'middle' ({operator}) can't be differentiated" in reason and "replace it by others" in reason
    assert reason.endswith("or train only what comes behind it: --trainable 'w2'")


def test_what_comes_behind_such_an_operator_can_train(tmp_path: Path) -> None:
    """The advice is good: frozen layers need no derivative."""
    assert bring(tmp_path, chain("Shrink"), "cross_entropy", "w2").elements == 15


def test_a_node_without_a_name_is_found_all_the_same(tmp_path: Path) -> None:
    """Nodes get names at import, so that one can be told."""
    proto = chain("Shrink")
    proto.graph.node[1].name = ""
    assert "the node 'Shrink_1' (Shrink)" in refusal(tmp_path, proto)


def test_a_step_that_fails_is_a_refusal(tmp_path: Path) -> None:
    """What a box would say of the graph is told."""
    imported = bundle(tmp_path, mlp())
    described = manifest.parse(imported.manifest_path.read_bytes())
    (tmp_path / "bundle" / "blobs" / described.step.train.digest).write_bytes(b"no graph")
    with pytest.raises(CompileError, match=r"can't be trained: the graph is no ONNX file"):
        proof.prove(tmp_path / "bundle")


def test_a_step_that_moves_nothing_is_told(tmp_path: Path) -> None:
    """A loss that is flat on random data may be the wrong one; it is no reason to refuse the model."""
    nodes = [N("MatMul", ["x", "w"], ["a"], name="first"), N("Clip", ["a", "low", "high"], ["y"], name="flat")]
    tensors_ = {"w": weights(8, 3), "low": np.array(1e6, np.float32), "high": np.array(2e6, np.float32)}
    imported = bring(tmp_path, model(nodes, tensors_), "mse", "w")
    assert any("moved nothing: does the loss fit the output?" in note for note in imported.notes)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21, 22, 25])
def test_models_of_many_opsets_are_taken(tmp_path: Path, opset: int) -> None:
    """What is older or newer than the training graphs' opset is brought to it."""
    ir = 10 if opset > 21 else 8
    assert bring(tmp_path, plain(opset=opset, ir=ir), "mse").elements > 0


def test_an_operator_that_came_later_is_spelled_out(tmp_path: Path) -> None:
    """Devices have older runtimes: what defines it travels in its place."""
    nodes = [N("MatMul", ["x", "w"], ["h"]), N("RMSNormalization", ["h", "scale"], ["y"], epsilon=1e-5)]
    proto = model(nodes, {"w": weights(8, 3), "scale": weights(3)}, opset=23, ir=10)
    kept = onnx.load(graph_path(bundle(tmp_path, proto, "mse")))
    assert kept.opset_import[0].version == 21
    assert "RMSNormalization" not in {node.op_type for node in kept.graph.node}
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    h = x @ weights(8, 3)
    expected = h / np.sqrt((h**2).mean(axis=1, keepdims=True) + 1e-5) * weights(3)
    (found,) = reference.run(kept.SerializeToString(), {"x": x})
    np.testing.assert_allclose(found["y"], expected, rtol=1e-4, atol=1e-5)


def test_a_manifest_is_plain_json(tmp_path: Path) -> None:
    """Anybody can read what a device is asked to do."""
    tree = json.loads(bundle(tmp_path, mlp()).manifest_path.read_bytes())
    assert tree["format"] == "headwater-bundle/2" and tree["loss"]["kind"] == "cross_entropy"


def test_a_function_of_the_model_is_inlined(tmp_path: Path) -> None:
    """Exporters that write modules as functions are welcome."""
    opset = [helper.make_opsetid("", 17)]
    body = [N("MatMul", ["a", "b"], ["m"]), N("Relu", ["m"], ["c"])]
    function = helper.make_function("pkg", "Layer", ["a", "b"], ["c"], body, opset)
    proto = model([N("Layer", ["x", "w"], ["y"], domain="pkg", name="layer")], {"w": weights(8, 3)}, domains=["pkg"])
    proto.functions.append(function)
    imported = bundle(tmp_path, proto, "mse")
    assert [node.op_type for node in onnx.load(graph_path(imported)).graph.node] == ["MatMul", "Relu"]
