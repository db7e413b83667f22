"""The fold: right, repeatable, in order, flat in memory, and clear about what it can't fold."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from headwater_control.strategies import merge as module
from headwater_control.strategies.merge import merge
from headwater_wire import tensors
from headwater_wire.errors import Malformed
from headwater_wire.manifest import Parameter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.vectors import read_version, write_delta, write_version

FLOATS = st.floats(-1e6, 1e6, width=32)
WEIGHTS = st.floats(0, 1)


@st.composite
def problems(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[tuple[NDArray[np.float32], float]]]:
    """A base, and weighted deltas of its length."""
    length = draw(st.integers(1, 40))
    vector = st.lists(FLOATS, min_size=length, max_size=length).map(lambda values: np.array(values, np.float32))
    return draw(vector), draw(st.lists(st.tuples(vector, WEIGHTS), max_size=8))


def write_all(
    folder: Path, base: NDArray[np.float32], deltas: list[tuple[NDArray[np.float32], float]]
) -> tuple[Path, list[tuple[Path, float]]]:
    """Put a problem into files."""
    return write_version(folder / "base", base), [
        (write_delta(folder / f"delta-{number}", delta), weight) for number, (delta, weight) in enumerate(deltas)
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems(), block=st.integers(1, 50))
def test_a_merge_is_the_weighted_sum_whatever_the_block_size(
    tmp_path: Path, problem: tuple[NDArray[np.float32], list[tuple[NDArray[np.float32], float]]], block: int
) -> None:
    """Within an ulp of the sum in float64, and the same bits for every block size."""
    base, deltas = problem
    files = write_all(tmp_path, base, deltas)
    merge(*files, "f32", tmp_path / "blocks", block=block)
    merge(*files, "f32", tmp_path / "whole")
    assert (tmp_path / "blocks").read_bytes() == (tmp_path / "whole").read_bytes()
    terms = np.array([base, *(delta for delta, _ in deltas)], np.float64)
    exact = np.array([1.0, *(weight for _, weight in deltas)]) @ terms
    scale = np.abs(terms).sum(axis=0)  # where large terms cancel, float64 has its own rounding
    error = np.abs(read_version(tmp_path / "whole") - exact)
    assert (error <= np.spacing(np.abs(exact).astype(np.float32)) + 1e-14 * scale).all()


def test_the_order_of_the_deltas_is_kept(tmp_path: Path) -> None:
    """Sums of floats depend on it: (1 + 2⁶⁰) − 2⁶⁰ is 0, 1 + (2⁶⁰ − 2⁶⁰) is 1."""
    huge = float(2**60)
    base, deltas = write_all(
        tmp_path, np.zeros(1, np.float32), [(np.array([v], np.float32), 1.0) for v in (1.0, huge, -huge)]
    )
    merge(base, deltas, "f32", tmp_path / "out")
    assert read_version(tmp_path / "out") == 0.0
    merge(base, [deltas[1], deltas[2], deltas[0]], "f32", tmp_path / "out")
    assert read_version(tmp_path / "out") == 1.0


def test_the_version_keeps_the_base_s_header(tmp_path: Path) -> None:
    """Same names, shapes and order, byte for byte; no delta at all gives the base."""
    parameters = (Parameter("ä", (2, 2), 0), Parameter("b", (), 4))
    tensors.write_vector(tmp_path / "base", parameters, np.arange(5, dtype=np.float32))
    merge(tmp_path / "base", [], "f32", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "base").read_bytes()


def test_more_deltas_than_files_may_be_open(tmp_path: Path) -> None:
    """The fold needs no more open files than it keeps, whatever the number of deltas."""
    count = module._KEPT_OPEN + 100
    deltas = [(write_delta(tmp_path / f"delta-{number}", [1.0, number]), 0.5) for number in range(count)]
    write_version(tmp_path / "base", [1.0, 2.0])
    names = [str(path) for path, _ in deltas]
    code = (
        "import resource, sys; from pathlib import Path\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({module._KEPT_OPEN + 30},) * 2)\n"
        "from headwater_control.strategies.merge import merge\n"
        "base, out, *deltas = map(Path, sys.argv[1:])\n"
        "merge(base, [(path, 0.5) for path in deltas], 'f32', out, block=1)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "base", tmp_path / "out", *names], check=True, timeout=60)
    assert read_version(tmp_path / "out").tolist() == [1.0 + count / 2, 2.0 + sum(range(count)) / 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_delta_that_is_not_finite_is_named(tmp_path: Path, bad: float, weight: float) -> None:
    """Even one that weighs nothing: it should never have been accepted."""
    values = np.zeros(100, np.float32)
    values[70] = bad
    files = write_all(tmp_path, np.zeros(100, np.float32), [(np.ones(100, np.float32), 0.5), (values, weight)])
    with pytest.raises(Malformed, match=rf"delta 2 of 2 \(delta-1\) holds {bad} at element 70:"):
        merge(*files, "f32", tmp_path / "out", block=32)


def test_a_base_that_is_not_finite_is_named(tmp_path: Path) -> None:
    """It is not the devices' fault."""
    files = write_all(tmp_path, np.array([0, np.nan], np.float32), [(np.ones(2, np.float32), 1.0)])
    with pytest.raises(Malformed, match="the base version holds nan at element 1"):
        merge(*files, "f32", tmp_path / "out")


def test_a_sum_beyond_float32_is_no_version(tmp_path: Path) -> None:
    """An infinity must not be rolled out."""
    files = write_all(tmp_path, np.array([3e38], np.float32), [(np.array([3e38], np.float32), 1.0)])
    with pytest.raises(Malformed, match="do not fit float32"):
        merge(*files, "f32", tmp_path / "out")


@pytest.mark.parametrize("number", [0, 1])
def test_a_delta_of_another_length_is_named(tmp_path: Path, number: int) -> None:
    """By its place and its file, before anything is written."""
    base, deltas = write_all(tmp_path, np.zeros(3, np.float32), [(np.ones(3, np.float32), 0.5)] * 2)
    write_delta(deltas[number][0], [1.0, 2.0])
    with pytest.raises(
        Malformed, match=rf"delta {number + 1} of 2 \(delta-{number}\): .*has 2 numbers; the model has 3"
    ):
        merge(base, deltas, "f32", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_delta_cut_short_is_named(tmp_path: Path) -> None:
    """Its header says more than there is."""
    base, deltas = write_all(tmp_path, np.zeros(3, np.float32), [(np.ones(3, np.float32), 1.0)])
    with deltas[0][0].open("r+b") as file:
        file.truncate(70)
    with pytest.raises(Malformed, match=r"delta 1 of 1 \(delta-0\): 70 bytes instead of the 76"):
        merge(base, deltas, "f32", tmp_path / "out")


def test_a_base_that_is_no_version_is_malformed(tmp_path: Path) -> None:
    """Cut short, for instance."""
    base = write_version(tmp_path / "base", [1.0, 2.0])
    base.write_bytes(base.read_bytes()[:-1])
    with pytest.raises(Malformed, match="its header speaks of"):
        merge(base, [], "f32", tmp_path / "out")
