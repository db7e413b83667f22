"""The examples that come with the package: what they say of bad files, and of themselves."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from headwater.examples import mnist, tumours

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"
PARTS = ("clinic-1", "clinic-2", "test")


def idx(array: np.ndarray) -> bytes:
    """Encode bytes as IDX."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images with their labels, as MNIST comes."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 28, 28), np.uint8)
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / LABELS).write_bytes(idx(np.arange(3, dtype=np.uint8)))
    return tmp_path


def test_mnist_is_read_gzipped_or_not(folder: Path) -> None:
    """Images and labels, as stored."""
    examples = mnist.load(folder)
    assert examples.images.shape == (3, 28, 28)
    assert examples.labels.tolist() == [0, 1, 2]


def flipped(data: bytes) -> bytes:
    """Damage what is compressed, in its middle."""
    middle = len(data) // 2
    return data[:middle] + bytes(64) + data[middle + 64 :]


def rezipped(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Change what is within."""
    return lambda data: gzip.compress(change(gzip.decompress(data)))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-300], "is damaged, or was cut short"),
        (flipped, "is damaged, or was cut short"),
        (lambda data: data[:-8] + bytes(4) + data[-4:], "is damaged, or was cut short"),  # its checksum
        (lambda data: b"<html>not found</html>", "is damaged, or was cut short"),
        (lambda data: b"", "is no IDX file of bytes: it begins with nothing"),
        (rezipped(lambda data: b"\x01" + data[1:]), "is no IDX file of bytes: it begins with 01 00 08 03"),
        (rezipped(lambda data: data[:9]), "was cut short in its header"),
        (rezipped(lambda data: data[:-5]), r"has 2347 bytes, but its header tells the shape (3, 28, 28)"),
        (rezipped(lambda data: data + b"more"), "has 2356 bytes, but its header tells"),
        (rezipped(lambda data: data[:4] + b"\xff" + data[5:]), "has 2352 bytes, but its header tells the shape (-"),
    ],
)
def test_a_damaged_mnist_file_is_named_with_what_is_wrong(
    folder: Path, damage: Callable[[bytes], bytes], told: str
) -> None:
    """Whatever was done to it: cut, flipped, another file, another shape."""
    file = folder / f"{IMAGES}.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError) as refusal:
        mnist.load(folder)
    assert str(refusal.value).startswith(f"{file} {told}")


def test_the_demo_names_a_damaged_file(folder: Path) -> None:
    """One sentence and exit code 1, whatever the file's library raised."""
    file = folder / f"{IMAGES}.gz"
    file.write_bytes(file.read_bytes()[:-300])
    command = [sys.executable, "-m", "headwater.cli", "demo", "--data", str(folder), "--to", str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {file} is damaged, or was cut short: ")


def test_the_tumours_explain_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--help is no folder's name; without a folder nothing is written."""
    monkeypatch.chdir(tmp_path)
    for arguments, code in ((["--help"], 0), ([], 2)):
        with pytest.raises(SystemExit) as ended:
            tumours.main(arguments)
        assert ended.value.code == code
    assert "example: python -m headwater.examples.tumours clinics" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_tumours_are_divided_without_a_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the README says: 455 at the clinics, 114 to test."""
    tumours.main([str(tmp_path / "clinics")])
    counts = [len((tmp_path / "clinics" / f"{name}.csv").read_text().splitlines()) - 1 for name in PARTS]
    assert (sum(counts[:2]), counts[2]) == (455, 114)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "clinics" / "tumours.onnx")
