"""A training step against PyTorch eager's: time, by kind of network, and the memory of the process that trains.

Needs PyTorch: `make bench-training` runs it in the virtual environment of `make parity`.
"""

import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

THREADS = 2
SECONDS_A_TURN = 0.4
RACES = 6
Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Lane:
    """What is raced: a network by name, a batch size, an optimizer, what trains, and the ratio to reach."""

    network: str
    batch: int
    wanted: float
    training: str = "sgd"
    trainable: tuple[str, ...] = ()


LANES = (
    Lane("mcmahan_cnn", 10, 0.85),
    Lane("mcmahan_cnn", 64, 1.0),
    Lane("mcmahan_cnn", 10, 0.85, training="adam"),
    Lane("2nn", 10, 0.5),
    Lane("mlp", 32, 0.5),
    Lane("mlp", 32, 0.5, training="adam"),
    Lane("transformer", 16, 0.6),
    Lane("mcmahan_cnn", 10, 0.5, trainable=("last:1",)),
    Lane("mlp", 32, 0.5, trainable=("bias",)),
    Lane("mobilenet", 16, 1.1),
    Lane("resnet8", 16, 1.1),
)


def main() -> None:
    """Print a line per lane, then the memory of a process that trains."""
    if find_spec("torch") is None:
        print("skipped: it needs PyTorch; run it by `make bench-training`")
    elif len(sys.argv) > 2 and sys.argv[1] == "--memory":
        _alone(sys.argv[2])
    else:
        _compare()


def _compare() -> None:
    import torch

    torch.set_num_threads(THREADS)
    print(
        f"a step, ours / PyTorch {torch.__version__} eager, {THREADS} threads each: the fastest step of {RACES} turns"
    )
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        for place, lane in enumerate(LANES):
            _race(lane, Path(name) / str(place))
        _compile(Path(name))
    _memory()
    _start()


def _race(lane: Lane, folder: Path) -> None:
    """Take turns, some steps each, so that what else the machine does slows both; the fastest step of each counts.

    Not step by step: PyTorch's threads go on spinning for a while after a step, and would slow the other's.
    """
    folder.mkdir()
    mine, theirs = _steps(lane, folder)
    pairs = [(_fastest_s(mine), _fastest_s(theirs)) for _ in range(RACES)]
    ours_ms, torch_ms = (1e3 * min(values) for values in zip(*pairs, strict=True))
    medians = [statistics.median(values) for values in zip(*pairs, strict=True)]
    what = f"{lane.network}, batch {lane.batch}, {lane.training}{', ' + lane.trainable[0] if lane.trainable else ''}"
    print(
        f"{what}: {ours_ms:.2f} / {torch_ms:.2f} ms = {ours_ms / torch_ms:.2f}, of the turns' medians "
        f"{medians[0] / medians[1]:.2f} (wanted: at most {lane.wanted:.2f})",
        flush=True,
    )


def _steps(lane: Lane, folder: Path) -> tuple[Step, Step]:
    from headwater_wire.messages import Plan

    from tests.parity.training import batch_of, ours

    case = _case(lane.network, lane.batch)
    mine = ours(case, folder, training=lane.training, trainable=lane.trainable, threads=THREADS)
    feed, label = batch_of(case)
    mine.session.load(mine.base, Plan())
    return lambda: mine.session.train_step(feed, 1e-3), _torch_step(case, label, lane, mine.parameters(mine.base))


def _torch_step(case: Any, label: Any, lane: Lane, trained: Any) -> Step:
    import torch

    from tests.parity.training import loss_of

    for name, parameter in case.net.named_parameters():
        parameter.requires_grad_(name in trained)
    make = torch.optim.Adam if lane.training == "adam" else torch.optim.SGD
    optimizer = make([p for p in case.net.parameters() if p.requires_grad], 1e-3)

    def step() -> object:
        optimizer.zero_grad()
        loss = loss_of(case, label)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _case(name: str, batch: int) -> Any:
    import torch

    from tests.parity import networks as n
    from tests.parity.case import Case

    torch.manual_seed(0)
    image, flat = torch.randn(batch, 1, 28, 28), torch.randn(batch, 784)
    colour = torch.randn(batch, 3, 32, 32)
    made = {
        "mcmahan_cnn": lambda: Case(n.McMahan(), (image,), classes=10),
        "2nn": lambda: Case(n.mlp(784, 200, 200, 10), (flat,), classes=10),
        "mlp": lambda: Case(n.mlp(784, 512, 512, 10), (flat,), classes=10),
        "transformer": lambda: Case(n.Transformer(64, 4), (torch.randn(batch, 32, 64),), classes=5),
        "mobilenet": lambda: Case(n.MobileNet(16, 3), (colour,), classes=6),
        "resnet8": lambda: Case(n.ResNet8(), (colour,), classes=10),
    }
    case: Any = made[name]()
    case.net.eval()
    return case


def _fastest_s(step: Step) -> float:
    """Repeat a step for a while; give the fastest."""
    time.sleep(0.05)
    gc.collect()
    fastest = float("inf")
    until = time.perf_counter() + SECONDS_A_TURN
    while time.perf_counter() < until:
        began = time.perf_counter()
        step()
        fastest = min(fastest, time.perf_counter() - began)
    return fastest


def _compile(folder: Path) -> None:
    """Import a large model, without the proof."""
    import torch
    from headwater_control.compiler.importer import make_bundle

    from tests.parity.networks import ResNet50
    from tests.parity.training import export

    net = ResNet50().eval()
    image = torch.randn(2, 3, 224, 224)
    file = export(net, (image,), folder / "resnet50.onnx")
    began = time.perf_counter()
    made = make_bundle(file, folder / "resnet50", "resnet50", "cross_entropy")
    compiled_s = time.perf_counter() - began
    began = time.perf_counter()
    with torch.no_grad():
        net(image)
    forward_s = time.perf_counter() - began
    ratio = compiled_s / forward_s
    print(
        f"compiling ResNet-50, {made.elements:,} parameters: {compiled_s:.1f} s = {ratio:.0f} × PyTorch's forward pass "
        "on two images (wanted: at most 5 s)"
    )


def _start() -> None:
    """Start a training child on the McMahan CNN, and wait for its first step's end."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        _save_bundle(Path(name))
        program = (
            "import sys, time; from pathlib import Path; from benches.training import _train_ours;"
            "_train_ours(Path(sys.argv[1]), steps=1)"
        )
        started = [program, str(Path(name) / "bundle")]
        pairs = [(_lifetime_s(started), _lifetime_s(["import numpy, onnxruntime"])) for _ in range(RACES)]
    start_s, bare_s = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(
        f"from a process's start to the end of its first step: {start_s:.2f} s = {start_s / bare_s:.1f} × importing "
        "numpy and onnxruntime (wanted: at most 0.7 s)"
    )


def _lifetime_s(program: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", *program], check=True)
    return time.perf_counter() - began


def _memory() -> None:
    """Train in a process that has nothing else, once with each."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        folder = Path(name)
        _save_bundle(folder)
        peaks = {}
        for who in ("normal", "small", "torch"):
            command = [sys.executable, "-c", "from benches.training import main; main()", "--memory", f"{who}:{folder}"]
            peaks[who] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        normal, small = (_opened(folder / "bundle", memory) for memory in ("normal", "small"))
        pairs = [(_fastest_s(normal), _fastest_s(small)) for _ in range(RACES)]
    slower = min(pair[1] for pair in pairs) / min(pair[0] for pair in pairs)
    print(
        f"peak memory of the training process, McMahan CNN, batch 64: {peaks['normal']:.0f} MB = "
        f"{peaks['normal'] / peaks['torch']:.2f} × PyTorch's {peaks['torch']:.0f} MB (wanted: at most 0.45)\n"
        f'with memory = "small": {peaks["small"]:.0f} MB = {peaks["small"] / peaks["torch"]:.2f} × PyTorch\'s, '
        f"{slower:.2f} × the time of a step"
    )


def _save_bundle(folder: Path) -> None:
    """Import the network here, so that the process that is measured holds no compiler."""
    from headwater_control.compiler.importer import make_bundle

    from tests.parity.training import export

    case = _case("mcmahan_cnn", 64)
    make_bundle(export(case.net, case.batch, folder / "net.onnx"), folder / "bundle", "net", "cross_entropy")


def _alone(what: str) -> None:
    """Take a few steps, as the training child does or as PyTorch does; print the peak resident memory in MB."""
    who, _, folder = what.partition(":")
    if who == "torch":
        _train_torch()
    else:
        _train_ours(Path(folder) / "bundle", memory=who)
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent had before the exec
    print(float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024)


def _train_ours(bundle: Path, steps: int = 5, memory: str = "normal") -> None:
    step = _opened(bundle, memory)
    for _ in range(steps):
        step()


def _opened(bundle: Path, memory: str) -> Step:
    import numpy as np
    from headwater_agent.training.engine import Bundle
    from headwater_agent.training.engines import engine
    from headwater_wire import manifest
    from headwater_wire.ids import Digest
    from headwater_wire.messages import Plan
    from headwater_wire.tensors import open_vector

    description = manifest.parse((bundle / "manifest.json").read_bytes())
    files = {Digest(path.name): path for path in (bundle / "blobs").iterdir()}
    session = engine("portable", memory).open(Bundle(description, files), THREADS)
    with open_vector(bundle / "parameters.safetensors", description) as floats:
        session.load(floats.load(), Plan())
    random = np.random.default_rng(0)
    batch: dict[str, Any] = {
        "input0": random.standard_normal((64, 1, 28, 28), np.float32), "label": random.integers(0, 10, 64)
    }  # fmt: skip
    return lambda: session.train_step(batch, 1e-3)


def _train_torch() -> None:
    import torch

    torch.set_num_threads(THREADS)
    case = _case("mcmahan_cnn", 64)
    step = _torch_step(case, torch.randint(0, 10, (64,)), LANES[0], dict(case.net.named_parameters()))
    for _ in range(5):
        step()


if __name__ == "__main__":
    main()
