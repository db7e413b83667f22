"""Delta files: the bytes agreed on, and whatever else arrives under their name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from headwater_wire import codecs, digests
from headwater_wire.codecs import header
from headwater_wire.errors import LengthMismatch, Malformed, WireError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

per_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example overwrites its file

# Agents of an older release send these bytes: a change here needs a new format number.
GOLDEN = bytes.fromhex(
    "485744454c544100"  # magic
    "0100" "0000"  # format 1, reserved
    "66333200000000000000000000000000"  # "f32"
    "0300000000000000"  # 3 numbers
    "000000000000000000000000000000000000000000000000"
    "afa2eff1"  # CRC-32 of the above
    "0000803f" "000000c0" "0000003e"  # 1.0, -2.0, 0.125
)  # fmt: skip


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A file with the golden bytes."""
    path = tmp_path / "delta"
    path.write_bytes(GOLDEN)
    return path


def test_the_bytes_are_those_agreed_on(tmp_path: Path, golden: Path) -> None:
    """Written and read, today and by every later release."""
    codecs.write_delta(tmp_path / "written", np.array([1.0, -2.0, 0.125], np.float32))
    assert (tmp_path / "written").read_bytes().hex() == GOLDEN.hex()
    with codecs.open_delta(golden, "f32", 3) as delta:
        assert delta.load().tolist() == [1.0, -2.0, 0.125]


@per_folder
@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=50), start=st.integers(0, 49), length=st.integers(0, 50)
)
def test_every_vector_survives_the_journey(tmp_path: Path, values: list[float], start: int, length: int) -> None:
    """Bit for bit, NaNs included: to judge them is another's task."""
    vector = np.array(values, np.float32)
    codecs.write_delta(tmp_path / "delta", vector)
    with codecs.open_delta(tmp_path / "delta", "f32", len(values)) as delta:
        assert delta.load().tobytes() == vector.tobytes()
        start = min(start, len(values))
        out = np.empty(min(length, len(values) - start), np.float32)
        delta.read_into(start, out)
        assert out.tobytes() == vector[start : start + out.size].tobytes()


def test_every_flipped_bit_of_the_header_is_found(golden: Path) -> None:
    """Under its CRC no bit can flip unseen."""
    for bit in range(8 * header.HEADER_BYTES):
        damaged = bytearray(GOLDEN)
        damaged[bit // 8] ^= 1 << bit % 8
        golden.write_bytes(damaged)
        with pytest.raises(Malformed):
            codecs.open_delta(golden, "f32", 3)


@per_folder
@given(flips=st.sets(st.tuples(st.integers(0, header.HEADER_BYTES - 1), st.integers(0, 7)), min_size=1, max_size=3))
def test_a_few_flipped_bits_of_the_header_are_found(golden: Path, flips: set[tuple[int, int]]) -> None:
    """A CRC-32 over 60 bytes finds any three."""
    damaged = bytearray(GOLDEN)
    for place, bit in flips:
        damaged[place] ^= 1 << bit
    golden.write_bytes(damaged)
    with pytest.raises(Malformed):
        codecs.open_delta(golden, "f32", 3)


@given(place=st.integers(header.HEADER_BYTES, len(GOLDEN) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_payload_changes_the_digest(place: int, bit: int) -> None:
    """The announced SHA-256 finds it."""
    damaged = bytearray(GOLDEN)
    damaged[place] ^= 1 << bit
    assert digests.of_bytes(damaged).digest != digests.of_bytes(GOLDEN).digest


def test_every_truncation_is_found(golden: Path) -> None:
    """Whatever the byte at which it ends too early; and so is a byte too many."""
    for data in (*(GOLDEN[:size] for size in range(len(GOLDEN))), GOLDEN + b"\0"):
        golden.write_bytes(data)
        with pytest.raises((Malformed, LengthMismatch)):
            codecs.open_delta(golden, "f32", 3)


@per_folder
@given(data=st.binary(max_size=100))
def test_random_bytes_are_no_delta(tmp_path: Path, data: bytes) -> None:
    """With and without a delta's first bytes."""
    for start in (b"", GOLDEN[:12], GOLDEN[:60]):
        (tmp_path / "delta").write_bytes(start + data)
        with pytest.raises(WireError):
            codecs.open_delta(tmp_path / "delta", "f32", 3)


def test_a_delta_of_another_model_is_refused(golden: Path) -> None:
    """Its number of numbers tells."""
    with pytest.raises(Malformed, match="has 3 numbers; the model has 4"):
        codecs.open_delta(golden, "f32", 4)


@pytest.mark.parametrize("codec", ["f33", "", "../f32"])
def test_an_unknown_codec_is_refused(golden: Path, tmp_path: Path, codec: str) -> None:
    """The message names the known ones."""
    with pytest.raises(Malformed, match="known are f32"):
        codecs.open_delta(golden, codec, 3)
    with pytest.raises(Malformed, match="known are f32"):
        codecs.write_delta(tmp_path / "written", np.zeros(1, np.float32), codec)


def forged(codec: bytes = b"f32", version: int = 1, reserved: int = 0, tail: bytes = b"") -> bytes:
    """A header under a good CRC that says something else."""
    fields = struct.pack("<8sHH16sQ24s", b"HWDELTA\0", version, reserved, codec, 3, tail)
    return fields + struct.pack("<I", zlib.crc32(fields))


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (forged(version=2), "is of format 2; this side reads 1"),
        (forged(reserved=1), "differ in version"),
        (forged(tail=b"\1"), "differ in version"),
        (forged(codec=b"int8"), "encoded as 'int8', but 'f32' was announced"),
        (forged(codec=b"\xff"), "names its codec"),
    ],
)
def test_a_delta_of_another_kind_is_refused_in_words(golden: Path, start: bytes, sentence: str) -> None:
    """A newer agent's delta is told as such."""
    golden.write_bytes(start + GOLDEN[64:])
    with pytest.raises(Malformed, match=sentence):
        codecs.open_delta(golden, "f32", 3)


@pytest.mark.parametrize("vector", [np.zeros((2, 2), np.float32), np.zeros(2), np.zeros((), np.float32)])
def test_only_a_flat_float32_vector_is_a_delta(tmp_path: Path, vector: np.ndarray) -> None:
    """No silent conversion."""
    with pytest.raises(ValueError, match="flat float32 vector"):
        codecs.write_delta(tmp_path / "delta", vector)
    assert not (tmp_path / "delta").exists()
