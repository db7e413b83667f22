"""Merging deltas of 10 million float32 from files: speed against plain numpy, and memory at 10 and at 100 deltas."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from headwater_control.strategies.fedavg import weights
from headwater_control.strategies.merge import merge
from headwater_wire import codecs, tensors
from headwater_wire.codecs.header import HEADER_BYTES
from headwater_wire.manifest import Parameter
from numpy.typing import NDArray

ELEMENTS = int(os.environ.get("HEADWATER_BENCH_ELEMENTS", 10_000_000))
ROUNDS = 3
MODEL_BYTES = 4 * ELEMENTS

Weighted = list[tuple[Path, float]]


def plain(base_path: Path, deltas: Weighted, out_path: Path) -> None:
    """The ordinary way, at its best: one buffer for all reads, float32 throughout."""
    with tensors.open_vector(base_path) as base:
        total = base.load()
    buffer: NDArray[np.float32] = np.empty(ELEMENTS, np.float32)
    for path, weight in deltas:
        with path.open("rb", buffering=0) as file:
            file.seek(HEADER_BYTES)
            file.readinto(buffer.data)
        np.multiply(buffer, np.float32(weight), out=buffer)
        np.add(total, buffer, out=total)
    out_path.write_bytes(total.data)


def mapped(base_path: Path, deltas: Weighted, out_path: Path) -> None:
    """The shortest way to write it: files mapped into memory."""
    with tensors.open_vector(base_path) as base:
        total = base.load()
    for path, weight in deltas:
        total += np.float32(weight) * np.memmap(path, np.float32, "r", offset=HEADER_BYTES)
    out_path.write_bytes(total.data)


def ours(base_path: Path, deltas: Weighted, out_path: Path) -> None:
    """What the control plane does."""
    merge(base_path, deltas, codecs.NAMES[0], out_path)


def _seconds(way: Callable[[Path, Weighted, Path], None], folder: Path, deltas: Weighted) -> float:
    begun = time.perf_counter()
    way(folder / "base", deltas, folder / "out")
    return time.perf_counter() - begun


def _peak_bytes() -> int:
    # Not ru_maxrss: over fork and exec it keeps the parent's.
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def _grown(folder: Path, deltas: Weighted) -> int:
    """In a process of its own: how far a merge raises the peak of one that has merged next to nothing."""
    tensors.write_vector(folder / "small", [Parameter("w", (1,), 0)], np.zeros(1, np.float32))
    merge(folder / "small", [], codecs.NAMES[0], folder / "small-out")
    before = _peak_bytes()
    ours(folder / "base", deltas, folder / "out")
    return _peak_bytes() - before


def _make(folder: Path, count: int) -> list[Path]:
    vector = np.random.default_rng(7).standard_normal(ELEMENTS, np.float32)
    tensors.write_vector(folder / "base", [Parameter("w", (ELEMENTS,), 0)], vector)
    paths = [folder / f"delta-{number}" for number in range(count)]
    for number, path in enumerate(paths):
        codecs.write_delta(path, np.roll(vector, number) * np.float32(0.01))
    return paths


def main() -> None:
    """Print speed and memory at 10 and 100 deltas."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as place:
        folder = Path(place)
        paths = _make(folder, 100)
        for count in (10, 100):
            deltas = list(zip(paths[:count], weights(range(1, count + 1)), strict=True))
            what = f"merge {count} × {ELEMENTS / 1e6:g} M float32 from files"
            with multiprocessing.get_context("spawn").Pool(1) as child:
                grown = child.apply(_grown, (folder, deltas))
            # Interleaved, so that a busy moment of the machine hits all three.
            rounds = [[_seconds(way, folder, deltas) for way in (ours, plain, mapped)] for _ in range(ROUNDS)]
            own, numpy_s, mapped_s = (min(times) for times in zip(*rounds, strict=True))
            for said, seconds in (("plain numpy multiply-add", numpy_s), ("the same over mapped files", mapped_s)):
                ratio = f"speed ratio {seconds / own:.2f} (wanted: at least 0.70)"
                print(f"{what}: {own:.3f} s; {said}: {seconds:.3f} s; {ratio}", flush=True)
            memory = f"{grown / 2**20:.1f} MiB = {grown / MODEL_BYTES:.3f} models (wanted: at most 2)"
            print(f"{what}: peak memory beyond the interpreter {memory}", flush=True)


if __name__ == "__main__":
    main()
