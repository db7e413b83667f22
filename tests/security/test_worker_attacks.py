"""Attacks on the box by what reaches its training worker: each is done, in a real worker, and must fail."""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from headwater_agent.training import kernel
from headwater_agent.training.protocol import Check, Checked, ColumnConfig, DatasetConfig, Refused, Train, Trained
from headwater_wire import digests, manifest
from headwater_wire.messages import Plan
from headwater_wire.tensors import write_tensors
from onnx import TensorProto, helper

from tests.agent.training import bundles, hostile_graphs
from tests.agent.training.confined import attempt
from tests.agent.training.hostile_graphs import custom, external
from tests.agent.training.workers import Worker
from tests.support.kernels import needs_confinement

SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}.get(kernel.machine(), 0)


@pytest.fixture
def job(tmp_path: Path) -> Train:
    """An honest job, in the folders that a worker may touch."""
    files = bundles.linear(tmp_path / "cache")
    np.savez(tmp_path / "data.npz", x=np.ones((20, 4), np.float32), label=np.arange(20) % 3)
    (tmp_path / "work").mkdir()
    columns = (ColumnConfig("x", ("x",)), ColumnConfig("label", ("label",), dtype="int64"))
    return Train(
        "task-1", str(files.manifest_path), files.blobs, str(files.base_path), str(tmp_path / "work" / "delta"),
        DatasetConfig("parts", "npz", str(tmp_path / "data.npz"), columns), Plan(batch_size=8, threads=1),
    )  # fmt: skip


@pytest.fixture
def worker(tmp_path: Path, job: Train) -> Iterator[Worker]:
    """A worker confined as the agent confines it."""
    grounds = (
        "--readable",
        str(tmp_path / "cache"),
        "--readable",
        job.dataset.path,
        "--output",
        str(tmp_path / "work"),
    )
    with Worker(confinement=("--confinement", "preferred", *grounds)) as started:
        yield started


def tampered(job: Train, change: Mapping[str, onnx.ModelProto]) -> Train:
    """Put other graphs into a job's bundle, with digests that agree: whoever writes the bundle can."""
    path = Path(job.manifest_path)
    description, files = manifest.parse(path.read_bytes()), dict(job.files)
    for name, graph in change.items():
        target = path.with_name(f"evil-{name}.onnx")
        target.write_bytes(graph.SerializeToString())
        blob = digests.of_file(target)
        files[blob.digest] = str(target)
        description = replace(description, step=replace(description.step, **{name: blob}))  # type: ignore[arg-type]
    evil = path.with_name("evil.json")
    evil.write_bytes(description.to_bytes())
    return replace(job, manifest_path=str(evil), files=tuple(files.items()))


def loaded(job: Train, name: str) -> onnx.ModelProto:
    """Read one of a job's graphs."""
    step = manifest.parse(Path(job.manifest_path).read_bytes()).step
    return onnx.load(dict(job.files)[getattr(step, name).digest])


@pytest.mark.parametrize("name", ["train", "evaluation"])
@pytest.mark.parametrize("how", ["custom operator", "in a branch", "external data", "settings", "function"])
def test_a_hostile_graph_in_a_task_is_refused_unopened(worker: Worker, job: Train, name: str, how: str) -> None:
    """A custom operator, another file, settings or a function in any graph of a bundle: a reason, and no delta."""
    graph = loaded(job, name)
    match how:
        case "custom operator":
            graph.graph.node.append(custom())
        case "in a branch":
            graph.graph.node.extend(hostile_graphs.in_subgraph(custom()).graph.node)
        case "external data":
            graph.graph.initializer.append(external("../data.npz"))
        case "settings":
            graph.metadata_props.extend(hostile_graphs.with_settings().metadata_props)
        case "function":
            graph.functions.extend(hostile_graphs.with_function().functions)
    reply = worker.do(tampered(job, {name: graph}))
    assert isinstance(reply, Refused)
    assert reply.reason.startswith("the graph is not run on this device: ")
    assert not Path(job.delta_path).exists()
    assert isinstance(worker.do(job), Trained), "and the next honest task is done"


def test_a_model_that_reads_a_secret_is_not_installed(worker: Worker, tmp_path: Path) -> None:
    """Its external data would be a file of the box, and its output that file's bytes."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"key-of-the-box--")
    thief = tmp_path / "cache" / "model.onnx"
    y = helper.make_tensor_value_info("y", TensorProto.UINT8, [16])
    stolen = external("../secret", length=16)
    stolen.data_type, stolen.dims[:] = TensorProto.UINT8, [16]
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "thief", [], [y], [stolen])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    thief.write_bytes(model.SerializeToString())
    reference = tmp_path / "cache" / "reference"
    write_tensors(reference, {"output.y": np.zeros(16, np.float32)})
    reply = worker.do(Check(str(thief), str(reference), 1e-4))
    assert isinstance(reply, Checked)
    assert "lies in a file beside it (location '../secret')" in reply.problem


@pytest.mark.parametrize(
    "deed",
    [
        "import socket\nsocket.create_connection(('127.0.0.1', PORT), 5)",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'data', ('127.0.0.1', PORT))",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:PORT/')",
        "Path('/tmp').joinpath('left-behind').touch()",
        "Path(os.path.expanduser('~/.profile')).open('a')",
        "Path('/etc/passwd').read_text()",
        "Path(f'/proc/{os.getppid()}/environ').read_bytes()",
        "Path(f'/proc/{os.getppid()}/mem').open('r+b')",
        "os.kill(os.getppid(), 9)",
        "os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))",
        "os.sched_setparam(os.getppid(), os.sched_param(0))",
        "from headwater_agent.training import kernel\nkernel.call(SCHED_SETATTR, [os.getppid(), bytes(48), 0])",
        "os.sched_setaffinity(os.getppid(), {0})",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "os.system('true') == 0 or os.execv('/bin/sh', ['sh'])",
    ],
)
def test_code_that_took_the_worker_over_gets_nowhere(tmp_path: Path, deed: str) -> None:
    """Whoever runs code in it reaches no network, no file of the system or the agent, no other process."""
    needs_confinement()
    for name in ("readable", "output"):
        (tmp_path / name).mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        code = deed.replace("PORT", str(server.getsockname()[1])).replace("SCHED_SETATTR", str(SCHED_SETATTR))
        assert attempt(code, tmp_path / "readable", tmp_path / "output") in {"PermissionError", "URLError"}
        with pytest.raises(BlockingIOError):
            server.accept()
