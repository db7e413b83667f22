"""Datasets of every format: what is read, and what is said when it can't be."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from headwater_agent.training.datasets import Dataset, open_dataset, stamp
from headwater_agent.training.datasets.idx import read_file
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig
from headwater_wire.messages import Column
from hypothesis import given
from hypothesis import strategies as st

LABEL = ColumnConfig("label", ("label",), dtype="int64")
MANY = f"{','.join(f'c{number}' for number in range(20))},labels\n{'1,' * 20}1\n"
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def npz(folder: Path, *columns: ColumnConfig, **arrays: npt.NDArray[Any]) -> DatasetConfig:
    """Write an npz, and declare it."""
    path = folder / "data.npz"
    np.savez(path, allow_pickle=True, **arrays)
    return DatasetConfig("parts", "npz", str(path), columns)


def csv(folder: Path, text: str, *columns: ColumnConfig) -> DatasetConfig:
    """Write a csv, and declare it."""
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return DatasetConfig("parts", "csv", str(path), columns)


def idx_bytes(array: npt.NDArray[Any]) -> bytes:
    """Encode as IDX."""
    code = next(code for code, spelling in IDX_TYPES.items() if np.dtype(spelling) == array.dtype)
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.tobytes()


def everything(dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Read all examples at once."""
    return dict(dataset.batch(np.arange(dataset.count)))


def refusal(config: DatasetConfig) -> str:
    """Open what can't be, and give the reason."""
    with pytest.raises(NotPossible) as caught:
        open_dataset(config)
    return str(caught.value)


# ── what is read ──


def test_values_are_scaled_shifted_and_cast(tmp_path: Path) -> None:
    """A value becomes (raw · scale − mean) / std in the declared dtype, and each example the declared shape."""
    raw = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    image = ColumnConfig("image", ("pixels",), shape=(1, 4, 4), scale=0.5, mean=3.0, std=2.0)
    dataset = open_dataset(npz(tmp_path, image, LABEL, pixels=raw, label=np.array([1, 0], np.uint8)))
    batch = dataset.batch(np.array([1, 0]))
    assert batch["image"].dtype == np.float32 and batch["label"].dtype == np.int64
    np.testing.assert_allclose(batch["image"], (raw[[1, 0]].reshape(2, 1, 4, 4) * 0.5 - 3) / 2)
    assert batch["label"].tolist() == [0, 1]
    assert dataset.card().columns == (Column("image", "float32", (1, 4, 4)), Column("label", "int64", ()))
    assert dataset.card().examples == 2


def test_large_whole_numbers_keep_their_value(tmp_path: Path) -> None:
    """An int64 column that is not normalised never passes through a float."""
    big = np.array([2**60 + 1, -(2**60) - 1])
    dataset = open_dataset(npz(tmp_path, LABEL, label=big))
    assert everything(dataset)["label"].tolist() == big.tolist()


def test_csv_columns_become_one_tensor_in_the_order_declared(tmp_path: Path) -> None:
    """Several csv columns feed one input; order, spaces, a byte order mark and empty lines don't matter."""
    text = "\ufeffage, height ,label\n30,1.5,1\n\n40,2.5,0\n"
    both = ColumnConfig("x", ("height", "age"))
    dataset = open_dataset(csv(tmp_path, text, both, LABEL))
    assert everything(dataset)["x"].tolist() == [[1.5, 30.0], [2.5, 40.0]]
    assert everything(dataset)["label"].tolist() == [1, 0]


def test_csv_columns_that_nothing_else_takes_become_one_tensor(tmp_path: Path) -> None:
    """The source "*" stands for the rest of the file's columns, in its order; two of them can't share it."""
    rest = ColumnConfig("features", ("*",))
    text = "a,label,b\n1,0,2\n3,1,4\n"
    assert everything(open_dataset(csv(tmp_path, text, rest, LABEL)))["features"].tolist() == [[1, 2], [3, 4]]
    assert "nothing is left for 'features'" in refusal(csv(tmp_path, "label\n1\n", rest, LABEL))
    assert "nothing is left" in refusal(csv(tmp_path, text, rest, replace(rest, name="others"), LABEL))


def test_csv_may_be_gzipped(tmp_path: Path) -> None:
    """The content tells, not the name."""
    config = csv(tmp_path, "", LABEL)
    Path(config.path).write_bytes(gzip.compress(b"label\n3\n"))
    assert everything(open_dataset(config))["label"].tolist() == [3]


@given(
    array=st.sampled_from(sorted(IDX_TYPES)).flatmap(
        lambda code: st.tuples(st.just(code), st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 99))
    ),
    zipped=st.booleans(),
)
def test_idx_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, array: tuple[int, list[int], int], zipped: bool
) -> None:
    """Every type and shape of IDX reads as it was written, plain or gzipped."""
    code, shape, seed = array
    values = np.random.default_rng(seed).integers(0, 100, shape).astype(IDX_TYPES[code])
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx_bytes(values)) if zipped else idx_bytes(values))
    read = read_file(path)
    assert read.dtype == values.dtype and np.array_equal(read, values)


def test_idx_finds_plain_and_gzipped_files(tmp_path: Path) -> None:
    """A column names a file without .gz; either is taken."""
    (tmp_path / "images").write_bytes(idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2)))
    (tmp_path / "labels.gz").write_bytes(gzip.compress(idx_bytes(np.array([5, 6, 7], np.uint8))))
    columns = (ColumnConfig("image", ("images",)), ColumnConfig("label", ("labels",), dtype="int64"))
    dataset = open_dataset(DatasetConfig("digits", "idx", str(tmp_path), columns))
    assert everything(dataset)["image"].shape == (3, 2, 2)
    assert everything(dataset)["label"].tolist() == [5, 6, 7]


def test_a_plain_idx_file_is_not_copied_into_memory(tmp_path: Path) -> None:
    """A large plain file is mapped; only the batches asked for are converted."""
    (tmp_path / "images").write_bytes(idx_bytes(np.zeros((100, 8), np.uint8)))
    config = DatasetConfig("digits", "idx", str(tmp_path), (ColumnConfig("image", ("images",)),))
    assert isinstance(open_dataset(config).columns[0].raw, np.memmap)


def test_the_stamp_changes_with_the_file_and_the_declaration(tmp_path: Path) -> None:
    """A dataset is opened again once its file or its declaration is another, and only then."""
    config = csv(tmp_path, "label\n1\n", LABEL)
    first = stamp(config)
    assert stamp(config) == first
    assert stamp(replace(config, columns=(replace(LABEL, scale=2.0),))) != first
    Path(config.path).write_text("label\n1\n2\n", encoding="utf-8")
    assert stamp(config) != first


# ── what is refused ──


@pytest.mark.parametrize(
    ("text", "columns", "told"),
    [
        ("", (LABEL,), r"data\.csv is empty: it needs a first line"),
        ("label\n", (LABEL,), "is empty: .* holds no example"),
        ("1,2\n3,4\n", (LABEL,), "line 1: these are numbers, not names"),
        ("a;label\n1;2\n", (LABEL,), "separated by commas"),
        ("label,label\n1,2\n", (LABEL,), "line 1: the column 'label' stands there 2 times"),
        ("a,b\n1,2\n", (LABEL,), "has no column 'label', which 'label' is made of; it has a, b$"),
        (MANY, (LABEL,), r"which 'label' is made of; it has labels, c0, c1, c2, c3, c4, c5, c6 … and 13 more$"),
        ("a,label\n1,2\n3\n", (LABEL,), "line 3: 1 values, where the header names 2 columns"),
        ("label\n1\nmalignant\n", (LABEL,), "line 3, column 'label': 'malignant' is text, not a number: give each"),
        ("a,label\n1,2\n,3\n", (ColumnConfig("x", ("a",)), LABEL), "line 3, column 'a': empty: fill it in"),
        ("a,label\n1,2\nnan,3\n", (ColumnConfig("x", ("a",)), LABEL), "line 3, column 'a': nan is not finite"),
        ("a,label\n-inf,2\n", (ColumnConfig("x", ("a",)), LABEL), "line 2, column 'a': -inf is not finite"),
        ("label\n2.5\n", (LABEL,), "holds 2.5 in example 0; that is no int64"),
        ('label\n"1\n', (LABEL,), "near line"),
        ("label\n1\n", (ColumnConfig("x", ("*",)), LABEL), "nothing is left for 'x', whose source is"),
        (
            "a\n1\n",
            (ColumnConfig("x", ("*",)), ColumnConfig("y", ("*",))),
            "nothing is left for 'x'",
        ),
        ("a,b\n1,2\n", (ColumnConfig("x", ("a", "b"), shape=(3,)),), r"shape \(2,\), which can't become \(3,\)"),
    ],
)
def test_a_bad_csv_is_told_with_its_place(
    tmp_path: Path, text: str, columns: tuple[ColumnConfig, ...], told: str
) -> None:
    """What is wrong with a csv is said with file, line and column, and with what to do."""
    with pytest.raises(NotPossible, match=told):
        open_dataset(csv(tmp_path, text, *columns))


def test_a_csv_that_is_not_text_is_told(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 end in a sentence, not in a UnicodeDecodeError."""
    config = csv(tmp_path, "", LABEL)
    Path(config.path).write_bytes(b"label\n\xff\xfe\n")
    assert "data.csv, near line" in refusal(config)


def test_objects_in_an_npz_are_not_loaded(tmp_path: Path) -> None:
    """An array of Python objects, which could carry code, is refused."""
    assert "without running code" in refusal(npz(tmp_path, LABEL, label=np.array([{}, {}], object)))


def test_text_in_an_npz_is_refused(tmp_path: Path) -> None:
    """Labels as strings are refused with what to do."""
    assert "replace each text by a number" in refusal(npz(tmp_path, LABEL, label=np.array(["cat", "dog"])))


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.ones(2)}, "has no array 'label', which column 'label' wants; it has x"),
        ({f"x{number}": np.ones(2) for number in range(10)}, "it has x0, x1, x2, x3, x4, x5, x6, x7 … and 2 more"),
        ({"label": np.float64(3.0)}, "a single number"),
        ({"label": np.empty(0, np.int64)}, "holds no example"),
        ({"label": np.array([0.5, 1.0])}, "holds 0.5 in example 0; that is no int64"),
        ({"label": np.array([0.0, np.nan])}, "holds nan in example 1; it must be finite"),
    ],
)
def test_a_bad_npz_is_told(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    """Missing, empty and unfit arrays are told by name."""
    assert told in refusal(npz(tmp_path, LABEL, **arrays))


def test_not_finite_inputs_are_told_by_example(tmp_path: Path) -> None:
    """A NaN deep in a large array is found, and told by its example's number."""
    values = np.zeros((10_000, 3), np.float32)
    values[7_777, 2] = np.inf
    assert "holds inf in example 7777" in refusal(npz(tmp_path, ColumnConfig("x", ("x",)), x=values))


def test_columns_of_different_lengths_are_told(tmp_path: Path) -> None:
    """Each column's count is said."""
    columns = (ColumnConfig("x", ("x",)), LABEL)
    assert "(x 3, label 2)" in refusal(npz(tmp_path, *columns, x=np.ones(3), label=np.zeros(2)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04cut", b"no zip at all"])
def test_what_is_no_npz_is_told(tmp_path: Path, content: bytes) -> None:
    """Damaged archives end in a sentence that names the file."""
    config = npz(tmp_path, LABEL, label=np.ones(1))
    Path(config.path).write_bytes(content)
    assert "data.npz" in refusal(config)


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    """An .npy file is told apart, with how to make an npz."""
    config = npz(tmp_path, LABEL, label=np.ones(1))
    with Path(config.path).open("wb") as file:
        np.save(file, np.ones(3))
    assert "save it by numpy.savez" in refusal(config)


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_a_missing_file_is_named(tmp_path: Path, kind: str) -> None:
    """The path is said, and why it can't be read."""
    reason = refusal(DatasetConfig("parts", kind, str(tmp_path / "none"), (LABEL,)))
    assert str(tmp_path / "none") in reason and "No such file" in reason


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no IDX file: it begins with nothing"),
        (b"\x1f\x8b\x08cut", "damaged, or was cut short"),
        (b"\0\0\x07\x01\0\0\0\x01A", "is no IDX file"),
        (b"\0\0\x08\x02\0\0\0\x01", "cut short in its header"),
        (b"\0\0\x08\x01\0\0\0\x02A", "fewer than the 2 bytes"),
        (b"\0\0\x08\x01\0\0\0\x01AB", "more than the 1 bytes"),
        (b"\0\0\x08\x01\xff\xff\xff\xffA", "is damaged: its header tells the shape (-1,)"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x02A", mtime=0), "fewer than the 2 bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x01AB", mtime=0), "more than the 1 bytes"),
        (gzip.compress(b"\0\0", mtime=0), "is no IDX file"),
    ],
)
def test_a_bad_idx_file_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    """Damaged and cut files are told by name, before anything large is allocated."""
    (tmp_path / "labels").write_bytes(content)
    column = ColumnConfig("label", ("labels",), dtype="int64")
    reason = refusal(DatasetConfig("digits", "idx", str(tmp_path), (column,)))
    assert told in reason and "labels" in reason


def test_a_missing_idx_file_is_named_both_ways(tmp_path: Path) -> None:
    """Neither the plain nor the gzipped name is there."""
    reason = refusal(DatasetConfig("digits", "idx", str(tmp_path), (LABEL,)))
    assert "has neither label nor label.gz" in reason


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ((), "no columns are declared"),
        ((LABEL, LABEL), "column 'label' is declared twice"),
        ((replace(LABEL, dtype="object"),), "is of 'object'; known are float32"),
        ((replace(LABEL, source=()),), "has no source"),
        ((replace(LABEL, std=0.0),), "can't be normalised"),
        ((replace(LABEL, mean=float("nan")),), "can't be normalised"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_told(
    tmp_path: Path, columns: tuple[ColumnConfig, ...], told: str
) -> None:
    """A bad declaration is refused before the file is read."""
    assert told in refusal(DatasetConfig("parts", "npz", str(tmp_path / "none"), columns))


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    """A format that isn't there is told with those that are."""
    assert "known are npz, csv, idx" in refusal(DatasetConfig("parts", "parquet", str(tmp_path), (LABEL,)))
