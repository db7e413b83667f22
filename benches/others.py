"""For the record: a step of the McMahan CNN against what else trains or differentiates ONNX graphs.

`python -m benches.others`, in the virtual environment of `make parity`. ONNX Runtime's training build is another
runtime, which does not go beside ours: both engines run on that one, in the virtual environment of `make native`.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
TURNS, SECONDS_A_TURN = 6, 0.4
NATIVE = Path(".venv-native/bin/python")
Step = Callable[[], object]


def main() -> None:
    """Print a line for each."""
    if sys.argv[1:2] == ["--engines"]:
        _race_engines(Path(sys.argv[2]), int(sys.argv[3]))
        return
    if find_spec("torch") is None or find_spec("onnx_ad") is None:
        print("skipped: it needs PyTorch and onnx-ad; run it by `make bench-training`")
        return
    for batch in (10, 64):
        with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
            _import(Path(name), batch)
            if NATIVE.exists():
                subprocess.run([str(NATIVE), "-m", "benches.others", "--engines", name, str(batch)], check=True)
            else:
                print("the training build: skipped, `make native` installs it")
            _race_onnx_ad(Path(name), batch)


def race(ours: Step, theirs: Step) -> tuple[float, float]:
    """Take turns, some steps each; the fastest step of each counts, in milliseconds."""
    fastest = [float("inf")] * 2
    for _ in range(TURNS):
        for place, step in enumerate((ours, theirs)):
            until = time.perf_counter() + SECONDS_A_TURN
            while time.perf_counter() < until:
                began = time.perf_counter()
                step()
                fastest[place] = min(fastest[place], 1e3 * (time.perf_counter() - began))
    return fastest[0], fastest[1]


def _import(folder: Path, batch: int) -> None:
    from headwater_control.compiler.importer import make_bundle

    from benches.training import _case
    from tests.parity.training import export

    case = _case("mcmahan_cnn", batch)
    make_bundle(export(case.net, case.batch, folder / "net.onnx"), folder / "bundle", "net", "cross_entropy")


def _batch(batch: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, 1, 28, 28), np.float32)
    return {"input0": images, "label": random.integers(0, 10, batch)}


def _opened(folder: Path, engine_name: str, batch: int) -> Step:
    from headwater_agent.training.engine import Bundle
    from headwater_agent.training.engines import engine
    from headwater_wire import manifest
    from headwater_wire.ids import Digest
    from headwater_wire.messages import Plan
    from headwater_wire.tensors import open_vector

    description = manifest.parse((folder / "manifest.json").read_bytes())
    files = {Digest(path.name): path for path in (folder / "blobs").iterdir()}
    session = engine(engine_name).open(Bundle(description, files), THREADS)
    with open_vector(folder / "parameters.safetensors", description) as floats:
        session.load(floats.load(), Plan())
    feed = _batch(batch)
    return lambda: session.train_step(feed, 1e-3)


def _race_engines(folder: Path, batch: int) -> None:
    import onnxruntime

    made = folder / "bundle"
    ours, theirs = race(_opened(made, "portable", batch), _opened(made, "native", batch))
    print(
        f"batch {batch}, both on the training build {onnxruntime.__version__}: portable {ours:.2f} / native "
        f"{theirs:.2f} ms = {ours / theirs:.2f}",
        flush=True,
    )


def _race_onnx_ad(folder: Path, batch: int) -> None:
    ours, theirs = race(_opened(folder / "bundle", "portable", batch), _onnx_ad_step(folder / "net.onnx", batch))
    print(f"batch {batch}: ours {ours:.2f} / onnx-ad's gradients {theirs:.2f} ms = {ours / theirs:.2f}", flush=True)


def _onnx_ad_step(file: Path, batch: int) -> Step:
    """Let onnx-ad differentiate, the runtime run its graph, and numpy do the loss and the step."""
    import onnx
    import onnx_ad
    import onnxruntime
    from headwater_control.compiler import checks
    from onnx import helper, numpy_helper

    model = checks.read(file)
    graph = model.graph
    named = [tensor for tensor in graph.initializer if tensor.name.endswith((".weight", ".bias"))]
    weights = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in named}
    kept = [tensor for tensor in graph.initializer if tensor.name not in weights]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for name, values in weights.items():
        graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, values.shape))
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    forward = onnx.shape_inference.infer_shapes(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for made in (forward, onnx_ad.reverse(forward))
    ]
    image, output, feed = graph.input[0].name, graph.output[0].name, _batch(batch)
    target = np.eye(10, dtype=np.float32)[feed["label"]]

    def step() -> None:
        given = {image: feed["input0"], **weights}
        (scores,) = sessions[0].run([output], given)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        slope = (p / p.sum(axis=1, keepdims=True) - target) / np.float32(batch)
        wanted = [f"adj_{name}" for name in weights]
        gradients = sessions[1].run(wanted, {**given, f"adj_{output}": slope})
        for name, gradient in zip(weights, gradients, strict=True):
            weights[name] -= np.float32(1e-3) * gradient.reshape(weights[name].shape)

    return step


if __name__ == "__main__":
    main()
