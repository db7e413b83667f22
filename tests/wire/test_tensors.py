"""Safetensors files: read and written as the format's own library does, and refused when anything is off."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from headwater_wire import tensors
from headwater_wire.errors import LengthMismatch, Malformed
from headwater_wire.floats import FloatFile, check_finite
from headwater_wire.ids import Digest, ModelName
from headwater_wire.manifest import Loss, Manifest, Parameter, TensorSpec
from headwater_wire.messages import Blob
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.steps import UNREAD
from tests.support.wire_records import PARAMETERS

per_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example overwrites its file
PAIR = (Parameter("w", (2, 3), 0), Parameter("b", (3,), 6))
DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")


def manifest(*parameters: Parameter) -> Manifest:
    """A model with these parameters."""
    spec = TensorSpec("x", "float32", ())
    graph, loss = Blob(Digest("0" * 64), 1), Loss("mse", "x", spec)
    return Manifest(ModelName("m"), graph, (spec,), (spec,), loss, parameters, (), UNREAD)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version of PAIR with the numbers 0 to 8."""
    path = tmp_path / "version"
    tensors.write_vector(path, PAIR, np.arange(9, dtype=np.float32))
    return path


@per_folder
@given(parameters=PARAMETERS, seed=st.integers(0, 99))
def test_a_version_is_the_flat_vector_behind_a_header(
    tmp_path: Path, parameters: tuple[Parameter, ...], seed: int
) -> None:
    """The data section is the vector, byte for byte, aligned to 8; ours and the format's library read it alike."""
    vector = np.random.default_rng(seed).standard_normal(sum(p.elements for p in parameters), np.float32)
    path = tmp_path / "version"
    tensors.write_vector(path, parameters, vector)
    with tensors.open_vector(path, manifest(*parameters)) as opened:
        assert opened.offset % 8 == 0
        assert path.read_bytes()[opened.offset :] == vector.tobytes()
        assert opened.load().tobytes() == vector.tobytes()
    theirs = safetensors.numpy.load_file(path)
    assert set(theirs) == {p.name for p in parameters}
    for p in parameters:
        assert np.array_equal(theirs[p.name], vector[p.offset : p.offset + p.elements].reshape(p.shape))
    assert tensors.parameters_of(tensors.read_layout(path)) == parameters


@per_folder
@given(
    data=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_mixed_tensors_survive_the_journey(tmp_path: Path, data: dict[str, tuple[str, list[int]]]) -> None:
    """Every dtype and shape; what we write the library reads, what it writes we read."""
    made: dict[str, NDArray[Any]] = {
        name: np.arange(int(np.prod(shape))).reshape(shape).astype(dtype) for name, (dtype, shape) in data.items()
    }
    tensors.write_tensors(tmp_path / "ours", made)
    safetensors.numpy.save_file(made, tmp_path / "theirs", metadata={"by": "the library"})
    for found in (
        tensors.read_tensors(tmp_path / "ours"),
        tensors.read_tensors(tmp_path / "theirs"),
        safetensors.numpy.load_file(tmp_path / "ours"),
    ):
        assert set(found) == set(made)
        for name, array in made.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert np.array_equal(found[name], array)


def test_foreign_byte_order_and_strides_are_written_as_the_format_wants(tmp_path: Path) -> None:
    """Big-endian and transposed arrays come back as equal numbers."""
    made = {"be": np.arange(3, dtype=">f4"), "t": np.arange(6.0).reshape(2, 3).T}
    tensors.write_tensors(tmp_path / "file", made)
    found = tensors.read_tensors(tmp_path / "file")
    assert all(np.array_equal(found[name], made[name]) for name in made)


def test_what_was_read_can_be_changed(tmp_path: Path) -> None:
    """A caller may train on it in place."""
    tensors.write_tensors(tmp_path / "file", {"x": np.zeros(2)})
    tensors.read_tensors(tmp_path / "file")["x"] += 1


def test_every_truncation_is_found(version: Path) -> None:
    """Whatever the byte at which a version ends too early, it is malformed; and so is a byte too many."""
    whole = version.read_bytes()
    for size in range(len(whole)):
        version.write_bytes(whole[:size])
        with pytest.raises(Malformed):
            tensors.open_vector(version)
    version.write_bytes(whole + b"\0")
    with pytest.raises(Malformed):
        tensors.open_vector(version)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_header_is_malformed_or_harmless(version: Path, place: int, value: int) -> None:
    """Any byte of the header may be anything: what is still read speaks of exactly the bytes that are there."""
    tensors.write_vector(version, PAIR, np.arange(9, dtype=np.float32))
    whole = bytearray(version.read_bytes())
    whole[place % (len(whole) - 36)] = value
    version.write_bytes(whole)
    try:
        with tensors.open_vector(version) as opened:
            assert (opened.elements, opened.offset) == (9, len(whole) - 36)
    except Malformed:
        pass


def header(tree: object, data: bytes = bytes(8)) -> bytes:
    """A file with this header."""
    text = json.dumps(tree).encode() if not isinstance(tree, bytes) else tree
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "cut short"),
        ((1 << 40).to_bytes(8, "little"), "cut short"),
        (header(b"{nonsense"), "no readable safetensors header"),
        (header([]), "no readable safetensors header"),
        (header(b"[" * 50_000), "no readable safetensors header"),
        (header({"w": {"dtype": "F32", "shape": [2]}}), "no readable safetensors header"),
        (header({"w": {"dtype": "F31", "shape": [2], "data_offsets": [0, 8]}}), "known are F64"),
        (header({"w": {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}}), "has shape"),
        (header({"w": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}), "has shape"),
        (header({"w": {"dtype": "F32", "shape": [1] * 33 + [2], "data_offsets": [0, 8]}}), "has shape"),
        (header({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}), "can't have 8 bytes"),
        (header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}), "begins at 4, not at 0"),
        (header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}), "its header speaks of"),
        (
            header({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"}),
            "begins at 0, not at 8",
        ),
        (
            header(
                b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],'
                b'"data_offsets":[0,8]}}'
            ),
            "stands twice",
        ),
        (header({"w": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}), "parameters are all F32"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, data: bytes, sentence: str) -> None:
    """Holes, overlaps, wrong sizes, wrong types: each is told."""
    path = tmp_path / "version"
    path.write_bytes(data)
    with pytest.raises(Malformed, match=sentence):
        tensors.open_vector(path)


def test_a_header_s_length_is_bounded(tmp_path: Path) -> None:
    """A damaged length is not allocated."""
    path = tmp_path / "version"
    with path.open("wb") as file:
        file.write((tensors.MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        file.truncate(2 * tensors.MAX_HEADER_BYTES)  # sparse
    with pytest.raises(Malformed, match="is the limit"):
        tensors.open_vector(path)
    with pytest.raises(ValueError, match="is the limit"):
        tensors.header([("n" * tensors.MAX_HEADER_BYTES, "F32", (1,))])


@pytest.mark.parametrize("names", [["__metadata__"], ["a", "a"]])
def test_a_name_that_a_file_can_not_hold_is_refused(names: list[str]) -> None:
    """Before anything is written."""
    with pytest.raises(ValueError, match="rename it"):
        tensors.header((name, "F32", (1,)) for name in names)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ((Parameter("b", (3,), 0), Parameter("w", (2, 3), 3)), "'w' stands where model m has 'b'"),
        ((Parameter("w", (3, 2), 0), Parameter("b", (3,), 6)), r"'w' is \(2, 3\); model m wants \(3, 2\)"),
        (PAIR[:1], "2 parameters; model m has 1"),
        ((*PAIR, Parameter("c", (1,), 9)), "2 parameters; model m has 3"),
    ],
)
def test_a_version_of_another_model_is_refused(version: Path, wanted: tuple[Parameter, ...], sentence: str) -> None:
    """Names, shapes, order and number are the manifest's."""
    with pytest.raises(Malformed, match=sentence):
        tensors.open_vector(version, manifest(*wanted))


def test_a_vector_of_the_wrong_length_is_not_written(tmp_path: Path) -> None:
    """It would be another model's."""
    with pytest.raises(ValueError, match="for 9 numbers"):
        tensors.write_vector(tmp_path / "version", PAIR, np.zeros(8, np.float32))


def test_what_safetensors_can_not_hold_is_not_written(tmp_path: Path) -> None:
    """The message names the tensor."""
    with pytest.raises(ValueError, match="'x' is complex128"):
        tensors.write_tensors(tmp_path / "file", {"x": np.zeros(1, complex)})


@pytest.mark.parametrize(("start", "length"), [(0, 9), (0, 0), (9, 0), (3, 4), (8, 1)])
def test_blocks_are_read_from_any_place(version: Path, start: int, length: int) -> None:
    """The numbers asked for, no others."""
    out = np.full(length, -1, np.float32)
    with tensors.open_vector(version) as opened:
        opened.read_into(start, out)
    assert out.tolist() == list(range(start, start + length))


@pytest.mark.parametrize(("start", "length"), [(0, 10), (9, 1), (-1, 1)])
def test_nothing_is_read_beyond_the_vector(version: Path, start: int, length: int) -> None:
    """There may be something else."""
    with tensors.open_vector(version) as opened, pytest.raises(ValueError, match="of 9"):
        opened.read_into(start, np.zeros(length, np.float32))


def test_a_file_cut_short_while_it_is_open_is_found(version: Path) -> None:
    """Zeros must not be merged for what is gone."""
    with tensors.open_vector(version) as opened:
        with version.open("r+b") as file:
            file.truncate(opened.offset + 10)
        with pytest.raises(LengthMismatch):
            opened.load()


@per_folder
@given(
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    place=st.integers(0, 40),
    length=st.integers(1, 41),
    block=st.integers(1, 50),
)
def test_what_is_not_finite_is_named_with_its_place(
    tmp_path: Path, bad: float, place: int, length: int, block: int
) -> None:
    """Whatever the block size, also in the last, short block."""
    vector = np.zeros(length, "<f4")
    if place < length:
        vector[place] = bad
    path = tmp_path / "vector"
    path.write_bytes(vector.tobytes())
    with FloatFile(path, 0, length) as floats:
        if place < length:
            with pytest.raises(Malformed, match=f"the delta holds {bad} at element {place}:"):
                check_finite(floats, "the delta", block=block)
        else:
            check_finite(floats, "the delta", block=block)
