"""What a graph must be before ONNX Runtime opens it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from google.protobuf.message import DecodeError
from headwater.examples import classifier
from headwater.examples import tumours as tumours_example
from headwater_agent.training import wire_format
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.graph_check import Limits, check
from headwater_agent.training.onnx_fields import MESSAGES
from headwater_control.compiler.compose import compose
from headwater_control.compiler.importer import make_bundle
from headwater_wire import manifest
from headwater_wire.tensors import read_tensors
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper

from tests.agent.training import bundles, hostile_graphs
from tests.agent.training.hostile_graphs import custom, external, in_subgraph, model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the graph lies."""
    return tmp_path / "graph.onnx"


def refused(file: Path, data: bytes | ModelProto, given_: tuple[str, ...] = (), limits: Limits | None = None) -> str:
    """Give the reason why it is not opened; nothing, if it is."""
    file.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    try:
        check(file, given_, limits or Limits())
    except NotPossible as error:
        return str(error)
    return ""


def test_a_graph_of_standard_operators_may_be_opened(file: Path) -> None:
    """With constants inside, with branches, and with the domain's other name."""
    constant = helper.make_node("Constant", [], ["k"], value=helper.make_tensor("k", TensorProto.FLOAT, [2], [1, 2]))
    numbers = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1, 2, 3, 4])
    assert refused(file, model([constant, custom("ai.onnx")], [numbers], [("ai.onnx", 17)])) == ""
    assert refused(file, in_subgraph(depth=5)) == ""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_all_graphs_of_a_bundle_may_be_opened(tmp_path: Path, optimizer: str) -> None:
    """What the compiler writes passes."""
    files = bundles.linear(tmp_path, optimizer=optimizer)
    for path in files.bundle.files.values():
        check(path)


def tumours() -> ModelProto:
    """Make the table example's model."""
    mean, std = tumours_example.scales()
    return classifier.table_classifier(tumours_example.FEATURES, tumours_example.CLASSES, mean=mean, std=std)


@pytest.mark.parametrize("make", [classifier.digits_classifier, classifier.mnist_classifier, tumours])
@pytest.mark.parametrize("trainable", [(), ("lora:2",)])
def test_what_becomes_of_the_examples_may_be_opened(
    tmp_path: Path, make: Callable[[], ModelProto], trainable: tuple[str, ...]
) -> None:
    """The graphs that a box trains with, the constants that lie apart among them, and the model that is installed."""
    onnx.save(make(), tmp_path / "example.onnx")
    made = make_bundle(tmp_path / "example.onnx", tmp_path / "out", "example", "cross_entropy", trainable)
    description = manifest.parse(made.manifest_path.read_bytes())
    step, blobs = description.step, tmp_path / "out" / "blobs"
    constants = read_tensors(blobs / step.constants.digest) if step.constants else {}
    for blob in (step.train, step.evaluation, step.accumulate):
        check(blobs / blob.digest, constants)
    check(blobs / step.update.digest)
    graph = blobs / description.graph.digest
    installed, _ = compose(made.manifest_path, graph, made.parameters_path, tmp_path / "composed")
    check(installed)


TENSOR_IN_NODE = helper.make_node("Constant", [], ["k"], value=external())
SEVERAL = helper.make_node("Constant", [], ["k"])
SEVERAL.attribute.append(AttributeProto(name="all", type=AttributeProto.TENSORS, tensors=[external()]))
PATHLESS = TensorProto(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
UNMARKED = external()
UNMARKED.ClearField("data_location")
NEGATIVE = TensorProto(name="w", data_type=1, dims=[-2])
SEGMENT = TensorProto(name="w", data_type=1, dims=[2], segment=TensorProto.Segment(begin=0, end=1))


@pytest.mark.parametrize(
    ("hostile", "told"),
    [
        (model([custom()]), "operators of the domain 'com.example'"),
        (model([custom("com.microsoft")]), "domain 'com.microsoft'"),
        (model([custom("ai.onnx.ml")]), "domain 'ai.onnx.ml'"),
        (model(opsets=[("", 17), ("com.example", 1)]), "domain 'com.example'"),
        (in_subgraph(custom()), "domain 'com.example'"),
        (in_subgraph(custom(), depth=6), "domain 'com.example'"),
        (model(tensors=[external()]), "lies in a file beside it (location '../../secret')"),
        (model(tensors=[external("constants")]), "'w' lies in a file beside it"),
        (model(tensors=[PATHLESS]), "'w' lies in a file beside it"),
        (model(tensors=[UNMARKED]), "lies in a file beside it"),
        (model([TENSOR_IN_NODE]), "lies in a file beside it"),
        (model([SEVERAL]), "lies in a file beside it"),
        (in_subgraph(tensor=external()), "lies in a file beside it"),
        (model(tensors=[NEGATIVE]), "negative size"),
        (model(tensors=[SEGMENT]), "a tensor with the field 3"),
        (hostile_graphs.with_settings(), "settings of the runtime (ort_config)"),
        (hostile_graphs.with_function(), "a model with the field 25"),
        (hostile_graphs.with_function(""), "a model with the field 25"),
        (hostile_graphs.with_sparse(), "a graph with the field 15"),
        (hostile_graphs.deep(30), "nested more than 64 deep"),
        (model([], [TensorProto(name="w", data_type=1, dims=[1 << 16, 1 << 16])]), "tensors have more than"),
        (b"", "is empty"),
        (b"rubbish", "no ONNX file"),
    ],
)
def test_a_hostile_graph_is_refused_with_a_reason(file: Path, hostile: bytes | ModelProto, told: str) -> None:
    """Custom operators, other files, settings, functions, bombs: wherever they hide, and in a sentence."""
    assert told in refused(file, hostile)


def test_tensors_that_the_engine_puts_in_need_no_numbers(file: Path) -> None:
    """Only those it has, only at the top, and only as the compiler writes them."""
    noted = external("constants", "k")
    assert refused(file, model(tensors=[noted]), ("k",)) == ""
    assert "'k' lies in a file" in refused(file, model(tensors=[noted]), ("other",))
    assert "'k' lies in a file" in refused(file, in_subgraph(tensor=noted), ("k",))
    assert "location '/etc/passwd'" in refused(file, model(tensors=[external("/etc/passwd", "k")]), ("k",))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Without its folder, which is nobody's business."""
    with pytest.raises(NotPossible, match=r"the graph lost can't be read: No such file"):
        check(tmp_path / "lost")


def test_a_file_that_was_cut_is_refused_at_every_length(file: Path) -> None:
    """No beginning of a graph passes for the whole."""
    data = model([], [helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])]).SerializeToString()
    assert [length for length in range(len(data)) if not refused(file, data[:length])] == []
    assert refused(file, data) == ""


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(nodes=40), "more than 40 nodes"),
        (Limits(fields=40), "more than 40 fields"),
        (Limits(size_bytes=40), "40 is the limit"),
        (Limits(depth=3), "more than 3 deep"),
    ],
)
def test_size_is_bounded(file: Path, limits: Limits, told: str) -> None:
    """Nodes, fields, nesting, and bytes of the file have a limit each."""
    many = [helper.make_node("Relu", ["x"], [f"y{n}"]) for n in range(41)]
    assert told in refused(file, model(many), limits=limits)


def around(tensor: bytes) -> bytes:
    """Write a model by hand: ONNX's own writer packs nothing, and cuts what is too long."""
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    return b"\x08\x08\x3a" + bytes([len(graph)]) + graph + b"\x42\x02\x10\x11"


def test_a_place_that_protobuf_would_shorten_is_refused(file: Path) -> None:
    """An enum of more than 32 bits is cut by ONNX's reader, and might become EXTERNAL."""
    assert refused(file, around(b"\x42\x01w\x70\x00")) == ""
    assert "unknown place 4294967297" in refused(file, around(b"\x42\x01w\x70\x81\x80\x80\x80\x10"))


def test_the_sizes_of_a_tensor_count_as_fields(file: Path) -> None:
    """Packed, a gigabyte of them is one field, and would be read for minutes."""
    packed = b"\x0a\x46" + b"\x01" * 70
    assert refused(file, around(packed)) == ""
    assert "more than 70 fields" in refused(file, around(packed), limits=Limits(fields=70))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("model", ModelProto), ("graph", GraphProto), ("node", onnx.NodeProto), ("attribute", AttributeProto),
        ("tensor", TensorProto), ("value", onnx.ValueInfoProto), ("type", onnx.TypeProto),
        ("tensor type", onnx.TypeProto.Tensor), ("element type", onnx.TypeProto.Sequence),
        ("map type", onnx.TypeProto.Map), ("shape", onnx.TensorShapeProto),
        ("dimension", onnx.TensorShapeProto.Dimension), ("opset", onnx.OperatorSetIdProto),
        ("entry", onnx.StringStringEntryProto), ("annotation", onnx.TensorAnnotation),
    ],
)  # fmt: skip
def test_the_fields_are_those_of_onnx(kind: str, message: type) -> None:
    """Each number that is let through is one of ONNX's, and a message where ONNX has a message."""
    known = {field.number: field.message_type is not None for field in message.DESCRIPTOR.fields}  # type: ignore[attr-defined]
    assert {number: inner in MESSAGES for number, inner in MESSAGES[kind].items()}.items() <= known.items()


def domains_and_places(found: ModelProto) -> Iterator[str]:
    """Name what ONNX's own reader sees of foreign domains and other files, wherever it is."""
    yield from (item.domain for item in found.opset_import)
    yield from ("function" for _ in found.functions)
    for entry in found.metadata_props:
        yield "ort_config" if entry.key == "ort_config" else ""
    yield from _of_graph(found.graph)


def _of_graph(graph: GraphProto) -> Iterator[str]:
    tensors = list(graph.initializer)
    for node in graph.node:
        yield node.domain
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            for inner in (attribute.g, *attribute.graphs):
                yield from _of_graph(inner)
    for tensor in tensors:
        yield "elsewhere" if tensor.data_location or tensor.external_data else ""
    yield from ("sparse" for _ in graph.sparse_initializer)


HOSTILE = [
    source.SerializeToString()
    for source in (
        model([custom()], [external()], [("", 17), ("com.example", 1)]),
        in_subgraph(custom(), external()),
        model([TENSOR_IN_NODE], [external("constants")]),
        hostile_graphs.with_settings(),
        hostile_graphs.with_function(),
    )
]


@given(
    st.sampled_from(HOSTILE),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.binary(max_size=3)), max_size=3),
)
def test_what_passes_is_harmless_to_onnx_too(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    """However a hostile graph is bent: if the check lets it pass, ONNX's own reader finds nothing foreign in it."""
    for at, length, new in edits:
        data = data[:at] + new + data[at + length :]
    if refused(tmp_path_factory.getbasetemp() / "bent.onnx", data):
        return
    try:
        found = onnx.load_from_string(data)
    except DecodeError:
        return
    assert set(domains_and_places(found)) <= {"", "ai.onnx"}


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Noise passes or is refused with a sentence, and raises nothing else."""
    refused(tmp_path_factory.getbasetemp() / "noise.onnx", data)


@given(st.integers(0, (1 << 64) - 1))
def test_numbers_are_read_as_protobuf_writes_them(number: int) -> None:
    """Up to 64 bits."""
    data = onnx.OperatorSetIdProto(version=number - (number >> 63 << 64)).SerializeToString()
    assert [value for _, _, value, _ in wire_format.fields(data, 0, len(data))] == [number]
