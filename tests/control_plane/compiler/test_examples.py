"""The data that is shipped, and how it is spread over devices."""

import gzip
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from headwater.examples import digits, mnist, tumours
from headwater.examples.shards import classes_of, spread
from headwater_agent.config import load
from hypothesis import given
from hypothesis import strategies as st

CONFIG = """
[agent]
id = "box-1"
state_dir = "state"

"""


def test_the_digits_are_all_there() -> None:
    """1,797 of them, 8×8, from 0 to 16, of all ten classes."""
    examples = digits.load()
    assert examples.images.shape == (1797, 8, 8) and examples.images.dtype == np.uint8
    assert (examples.images.min(), examples.images.max()) == (0, 16)
    assert np.bincount(examples.labels).min() > 170 and len(np.bincount(examples.labels)) == 10


def test_five_devices_of_four_digits_hold_each_digit_twice() -> None:
    """No example is on two devices or in the test set too, and none is lost."""
    shards = digits.shards(5)
    held = [set(shard.labels.tolist()) for shard in shards.devices]
    assert [sum(digit in own for own in held) for digit in range(10)] == [2] * 10
    assert {len(own) for own in held} == {4} and set(shards.test.labels.tolist()) == set(range(10))
    everything = np.concatenate([shards.pooled().images, shards.test.images]).reshape(1797, 64)
    assert np.array_equal(np.sort(everything, axis=0), np.sort(digits.load().images.reshape(1797, 64), axis=0))
    assert min(len(shard.labels) for shard in shards.devices) > 250


@given(st.integers(1, 40), st.integers(1, 10))
def test_no_class_is_nobodys(devices: int, classes_per_device: int) -> None:
    """However many devices, every class has an owner, or the call says what to change."""
    if devices * classes_per_device < 10:
        with pytest.raises(ValueError, match=r"take at least \d+ classes a device"):
            classes_of(0, devices, 10, classes_per_device)
        return
    owned = [classes_of(device, devices, 10, classes_per_device) for device in range(devices)]
    assert {digit for own in owned for digit in own} == set(range(10))
    assert all(len(set(own)) == classes_per_device for own in owned)


@given(st.integers(0, 1000))
def test_a_seed_decides_who_gets_what(seed: int) -> None:
    """The same seed gives the same shards."""
    one, other = (spread(digits.load(), 5, 10, 4, seed, 0.2, 50) for _ in range(2))
    assert all(np.array_equal(a.images, b.images) for a, b in zip(one.devices, other.devices, strict=True))
    assert all(len(shard.labels) == 50 for shard in one.devices)


def test_mnist_is_read_plain_and_gzipped(tmp_path: Path) -> None:
    """A folder of four IDX files gives shards whose test set is MNIST's own."""
    random = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        shape = np.array(images.shape, ">i4").tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + shape + images.tobytes())
        data = b"\0\0\x08\x01" + np.array([count], ">i4").tobytes() + labels.tobytes()
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(data))
    shards = mnist.shards(tmp_path, 5, most_per_device=30)
    assert [shard.images.shape for shard in shards.devices] == [(30, 28, 28)] * 5
    assert len(shards.test.labels) == 20
    assert mnist.normalised(shards.test.images).shape == (20, 1, 28, 28)


def test_a_folder_without_mnist_is_told(tmp_path: Path) -> None:
    """The missing file is named both ways; a damaged one is told."""
    with pytest.raises(ValueError, match=r"has neither train-images-idx3-ubyte nor train-images-idx3-ubyte\.gz"):
        mnist.shards(tmp_path, 5)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\x01")
    with pytest.raises(ValueError, match="was cut short in its header"):
        mnist.shards(tmp_path, 5)


def test_the_tumours_are_all_there(tmp_path: Path) -> None:
    """569 lines of 30 named measures, 212 of them malignant; split, no line is lost or doubled."""
    header, *lines = tumours.text().splitlines()
    names = header.split(",")
    assert len(set(names)) == tumours.FEATURES + 1 and names[-1] == "malignant" and len(lines) == 569
    assert sum(line.endswith(",1") for line in lines) == 212
    paths = tumours.split_csv(tmp_path, clinics=3)
    assert [path.name for path in paths] == ["clinic-1.csv", "clinic-2.csv", "clinic-3.csv", "test.csv"]
    assert sorted(line for path in paths for line in path.read_text().splitlines()[1:]) == sorted(lines)
    assert all(path.read_text().startswith(header) for path in paths)


@pytest.mark.parametrize("text", [digits.DATASET_TOML, mnist.DATASET_TOML])
def test_the_declarations_are_what_an_agent_reads(tmp_path: Path, text: str) -> None:
    """Put into an agent's configuration, they declare image and label."""
    (tmp_path / "agent.toml").write_text(CONFIG + text.format(path='"shard.npz"'), encoding="utf-8")
    config = load(tmp_path / "agent.toml", {})
    assert [column.name for column in config.datasets[0].columns] == ["image", "label"]
    assert config.datasets[0].path == str(tmp_path / "shard.npz")


def test_the_shipped_data_is_small_and_attributed() -> None:
    """Less than 200 kB, and each file is named in DATA.md."""
    folder = files("headwater.examples")
    data = [file for file in folder.iterdir() if file.name.endswith((".npz", ".csv"))]
    assert sum(len(file.read_bytes()) for file in data) < 200_000
    attribution = folder.joinpath("DATA.md").read_text("utf-8")
    assert all(file.name in attribution for file in data) and "CC BY 4.0" in attribution
