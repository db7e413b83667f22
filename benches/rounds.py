"""What a round costs beside training: eight real agents add a constant to 1 million float32; all else is real."""

import hashlib
import os
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from headwater.records import Round

from tests.support.fleet import Fleet, fleet
from tests.support.noise import NOISE_TOML, save_noise
from tests.support.wide_model import save_wide_model

DEVICES = 8
SIDE = 1000  # SIDE × SIDE parameters
ROUNDS = 12
_CHUNK = 256 * 1024


def main() -> None:
    """Print the cold first round, the warm ones by phase, and the bare transfer and merge of the same bytes."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        folder = Path(name)
        rounds = _rounds(folder / "secure", secure=True)
        plain_s = statistics.median(_seconds(found) for found in _rounds(folder / "plain", secure=False)[1:])
        bare_s = statistics.median(_bare(folder) for _ in range(5))
    cold, *warm = [_seconds(found) for found in rounds]
    warm_s = statistics.median(warm)
    phases = [
        ("select", statistics.median(found.scores.selecting_s or 0 for found in rounds[1:])),
        ("collect", statistics.median(found.scores.collecting_s or 0 for found in rounds[1:])),
        ("merge", statistics.median(found.scores.merging_s or 0 for found in rounds[1:])),
    ]
    print(f"round overhead, {DEVICES} agents × {SIDE * SIDE:,} float32: {warm_s:.3f} s (median of {len(warm)})")
    print(f"  by phase: {', '.join(f'{phase} {seconds:.3f} s' for phase, seconds in phases)}")
    print(f"  cold first round (workers start, base and graph fetched): {cold:.3f} s, {cold / warm_s:.1f} × a warm one")
    print(f"  without TLS and certificates: {plain_s:.3f} s; they cost {100 * (warm_s / plain_s - 1):+.0f} %")
    print(
        f"  bare transfer, fsync and merge of the same bytes: {bare_s:.3f} s; a round is {warm_s / bare_s:.1f} × that"
    )


def _rounds(folder: Path, *, secure: bool) -> tuple[Round, ...]:
    with fleet(folder / "fleet", secure=secure) as made:
        _add_boxes(made)
        save_wide_model(folder / "wide.onnx", SIDE)
        made.client.models.import_file(folder / "wide.onnx", loss="mse")
        run = made.client.runs.start(
            model="wide", dataset="noise", rounds=ROUNDS, learning_rate=0.001, over_select=1.0, holdout=0.0
        )
        detail = made.client.runs.wait(run.id, timeout_s=120)
        assert detail.run.state == "completed", detail.run.reason
        return tuple(found for found in detail.rounds if found.merged)


def _add_boxes(made: Fleet) -> None:
    for number in range(1, DEVICES + 1):
        device = f"box-{number}"
        save_noise(made.folder / device, SIDE)
        made.add(device, NOISE_TOML, engine="constant")
    made.wait_registered()


def _seconds(found: Round) -> float:
    assert found.closed_at
    return (found.closed_at - found.opened_at).total_seconds()


def _bare(folder: Path) -> float:
    """Send a model to each of the devices over a socket and back, hash and fsync both, then sum them and fsync.

    Two threads, as the machine has two cores; no protocol, no database, no processes.
    """
    model = np.ones(SIDE * SIDE, np.float32)
    started = time.perf_counter()
    work = list(range(DEVICES))
    lock = threading.Lock()

    def carry() -> None:
        while True:
            with lock:
                if not work:
                    return
                device = work.pop()
            for way in ("down", "up"):
                _send(model.tobytes(), folder / f"{way}-{device}")

    threads = [threading.Thread(target=carry) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = np.zeros_like(model)
    for device in range(DEVICES):
        total += np.float32(1 / DEVICES) * np.fromfile(folder / f"up-{device}", np.float32)
    _store(folder / "merged", total.tobytes())
    return time.perf_counter() - started


def _send(data: bytes, target: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=ours.sendall, args=(data,))
        sender.start()
        digest, got = hashlib.sha256(), bytearray()
        while len(got) < len(data):
            chunk = theirs.recv(_CHUNK)
            digest.update(chunk)
            got += chunk
        sender.join()
    _store(target, got)


def _store(target: Path, data: bytes | bytearray) -> None:
    with target.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
