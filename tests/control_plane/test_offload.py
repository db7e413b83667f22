"""Heavy work in child processes: done, refused, killed, cancelled, given up."""

import asyncio
import json
import os
import select
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import psutil
import pytest
import safetensors.numpy
from headwater_control import strategies
from headwater_control.edges.offload import ProcessOffload
from headwater_control.ports import ImportJob, MergeJob, OffloadFailed, Unusable
from headwater_control.strategies.merge import merge
from headwater_wire import manifest
from headwater_wire.crashpoint import VARIABLE
from headwater_wire.ids import ModelName
from headwater_wire.tensors import read_tensors

from tests.control_plane.compiler.graphs import graph_path
from tests.support.vectors import read_version, write_delta, write_version

DEADLINE_S = 30.0
EXAMPLES = (3, 5, 11)


@pytest.fixture
async def offload() -> AsyncIterator[ProcessOffload]:
    """The real thing."""
    async with ProcessOffload() as offload:
        yield offload


def make_job(folder: Path, elements: int = 200_000) -> MergeJob:
    """Three random deltas on a random base."""
    random = np.random.default_rng(5)
    write_version(folder / "base", random.standard_normal(elements, np.float32))
    paths = [write_delta(folder / f"delta-{n}", random.standard_normal(elements, np.float32)) for n in range(3)]
    return MergeJob("fedavg", folder / "base", tuple(zip(paths, EXAMPLES, strict=True)), "f32", folder / "out")


def expected(job: MergeJob) -> bytes:
    """What the merge gives in this process, undisturbed."""
    weights = strategies.weights(job.strategy, [examples for _, examples in job.deltas])
    out = job.base_path.with_name("expected")
    merge(job.base_path, [(path, w) for (path, _), w in zip(job.deltas, weights, strict=True)], job.codec, out)
    return out.read_bytes()


def hanging_job(folder: Path) -> tuple[MergeJob, Path]:
    """A merge that waits for ever, since one of its deltas is a pipe that nobody writes to."""
    os.mkfifo(folder / "pipe")
    return MergeJob("fedavg", write_version(folder / "base", [1.0]), ((folder / "pipe", 1),), "f32", folder / "out"), (
        folder / "pipe"
    )


def children() -> list[psutil.Process]:
    """The offload's children."""
    return [child for child in psutil.Process().children() if "offload_child" in " ".join(child.cmdline())]


async def test_a_merge_is_done_by_a_child(offload: ProcessOffload, tmp_path: Path) -> None:
    """The bits are those of the same fold in this process; the child is kept for the next merge."""
    job = make_job(tmp_path)
    await offload.warm()
    (child,) = children()
    for _ in range(2):
        await offload.merge(job)
        assert job.out_path.read_bytes() == expected(job)
    assert children() == [child]


async def test_a_child_for_which_there_is_no_room_yet_is_started_by_the_first_merge(
    offload: ProcessOffload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """To warm it up was for speed only: the control plane goes on without."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(tmp_path / "not-there"))
        await offload.warm()
    assert "can't be started yet" in caplog.text
    job = make_job(tmp_path)
    await offload.merge(job)
    assert job.out_path.read_bytes() == expected(job)


async def test_merges_at_once_wait_for_each_other(offload: ProcessOffload, tmp_path: Path) -> None:
    """Each is answered with its own result."""
    jobs = []
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        jobs.append(make_job(folder, elements=1000 + number))
    await asyncio.gather(*(offload.merge(job) for job in jobs))
    assert [read_version(job.out_path).size for job in jobs] == [1000, 1001, 1002, 1003]
    assert len(children()) == 1


async def test_a_child_killed_in_the_middle_of_a_merge_loses_nothing(
    offload: ProcessOffload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merge is tried again, and gives the same bits."""
    guard = tmp_path / "killed"
    monkeypatch.setenv(VARIABLE, f"merge.half@{guard}")
    job = make_job(tmp_path)
    await offload.merge(job)
    assert guard.exists()
    assert job.out_path.read_bytes() == expected(job)


async def test_a_child_that_dies_each_time_is_given_up(
    offload: ProcessOffload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge whose process dies twice ends with an error, and the next merge begins afresh."""
    job = make_job(tmp_path)
    monkeypatch.setenv(VARIABLE, "merge.half")
    with pytest.raises(OffloadFailed, match="died 2 times: status -9"):
        await offload.merge(job)
    monkeypatch.delenv(VARIABLE)
    await offload.merge(job)
    assert job.out_path.read_bytes() == expected(job)


async def test_a_cancelled_merge_is_killed(offload: ProcessOffload, tmp_path: Path) -> None:
    """Nobody goes on writing after the caller has gone, and the next merge gets a new child."""
    job, pipe = hanging_job(tmp_path)
    task = asyncio.create_task(offload.merge(job))
    async with asyncio.timeout(DEADLINE_S):
        writer = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)  # returns when the child reads
        (child,) = children()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    os.close(writer)
    assert not child.is_running()
    folder = tmp_path / "next"
    folder.mkdir()
    after = make_job(folder)
    await offload.merge(after)
    assert after.out_path.read_bytes() == expected(after)


async def test_a_merge_has_a_deadline(tmp_path: Path) -> None:
    """One that hangs is killed and told as not done."""
    job, _ = hanging_job(tmp_path)
    async with ProcessOffload(merge_s=0.5) as offload:
        with pytest.raises(OffloadFailed, match=r"merge took longer than 0\.5 s"):
            await offload.merge(job)
        assert children() == []


async def test_leaving_the_context_ends_the_child(tmp_path: Path) -> None:
    """Also one that is at work; its caller is told, and no other is started."""
    job, pipe = hanging_job(tmp_path)
    async with ProcessOffload() as offload:
        task = asyncio.create_task(offload.merge(job))
        async with asyncio.timeout(DEADLINE_S):
            writer = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)
    with pytest.raises(OffloadFailed, match="shutting down"):
        await task
    os.close(writer)
    assert children() == []


async def test_the_child_of_a_killed_server_ends(tmp_path: Path) -> None:
    """kill -9 of the parent leaves no orphan, not even in the middle of a merge."""
    job, pipe = hanging_job(tmp_path)
    code = """
import asyncio, sys
from pathlib import Path
from headwater_control.edges.offload import ProcessOffload
from headwater_control.ports import MergeJob

async def main():
    async with ProcessOffload() as offload:
        await offload.warm()
        print(offload._merger._process.pid, flush=True)
        base, delta, out = map(Path, sys.argv[1:])
        await offload.merge(MergeJob("fedavg", base, ((delta, 1),), "f32", out))

asyncio.run(main())
"""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, job.base_path, pipe, job.out_path, stdout=PIPE
    )
    assert server.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        orphan = os.pidfd_open(int(await server.stdout.readline()))
        writer = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)
        server.kill()
        await server.wait()
        ended, _, _ = await asyncio.to_thread(select.select, [orphan], [], [], DEADLINE_S)
    os.close(writer)
    os.close(orphan)
    assert ended


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_the_whole_group_does_not_end_a_merge(
    offload: ProcessOffload, tmp_path: Path, number: signal.Signals
) -> None:
    """What systemd or Ctrl-C sends to every process is for the server to act on."""
    job = make_job(tmp_path)
    await offload.merge(job)
    (child,) = children()
    child.send_signal(number)
    await offload.merge(job)
    assert children() == [child]


async def test_a_bad_delta_is_named(offload: ProcessOffload, tmp_path: Path) -> None:
    """The message says which one, and what is wrong with it."""
    job = make_job(tmp_path, elements=10)
    write_delta(tmp_path / "delta-1", [1.0] * 4 + [float("nan")] + [1.0] * 5)
    with pytest.raises(Unusable, match=r"delta 2 of 3 \(delta-1\) holds nan at element 4"):
        await offload.merge(job)


async def test_a_missing_file_is_no_fault_of_the_input(offload: ProcessOffload, tmp_path: Path) -> None:
    """What the disk says is passed on, and the child lives on."""
    job = make_job(tmp_path, elements=10)
    (tmp_path / "delta-1").unlink()
    with pytest.raises(OffloadFailed, match=r"FileNotFoundError.*delta-1"):
        await offload.merge(job)
    assert len(children()) == 1


async def test_an_unknown_strategy_is_refused(offload: ProcessOffload, tmp_path: Path) -> None:
    """The message names the known ones."""
    job = MergeJob("median", write_version(tmp_path / "base", [1.0]), (), "f32", tmp_path / "out")
    with pytest.raises(Unusable, match="known are fedavg"):
        await offload.merge(job)


def write_classifier(path: Path) -> None:
    """Four numbers in, three classes out, one layer."""
    weights = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", "w", "b"], ["logits"])],
        "classifier",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(np.zeros(3, np.float32), "b")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString())


async def test_a_model_goes_in_and_its_next_version_comes_out(offload: ProcessOffload, tmp_path: Path) -> None:
    """Imported, given other parameters, composed: each in a process of its own, which is gone afterwards."""
    source, bundle, release = tmp_path / "classifier.onnx", tmp_path / "bundle", tmp_path / "release"
    write_classifier(source)
    bundle.mkdir()
    release.mkdir()
    made = await offload.import_model(ImportJob(source, bundle, ModelName("classifier"), "cross_entropy", ()))
    assert made.elements == 15 == manifest.parse(made.manifest_path.read_bytes()).elements
    safetensors.numpy.save_file(
        {"w": np.eye(4, 3, dtype=np.float32), "b": np.ones(3, np.float32)}, tmp_path / "retrained"
    )
    await offload.import_version(made.manifest_path, tmp_path / "retrained", tmp_path / "version")
    model, reference = await offload.compose(made.manifest_path, graph_path(made), tmp_path / "version", release)
    assert children() == []
    weights = {item.name: onnx.numpy_helper.to_array(item) for item in onnx.load(model).graph.initializer}
    assert np.array_equal(weights["w"], np.eye(4, 3)) and np.array_equal(weights["b"], np.ones(3))
    tensors = read_tensors(reference)
    assert np.allclose(tensors["output.logits"], tensors["input.x"] @ np.eye(4, 3) + 1)


async def test_an_unreadable_model_is_refused_in_words(offload: ProcessOffload, tmp_path: Path) -> None:
    """Garbage instead of ONNX is the operator's to hear of; the compiler's process is gone afterwards."""
    source = tmp_path / "digits.onnx"
    source.write_bytes(b"no model")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Unusable):
        await offload.import_model(ImportJob(source, out, ModelName("digits"), "cross_entropy", ()))
    assert children() == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [([1.0, 2.0], None), ([1.0], "is of another model"), ([1.0, float("inf")], "holds inf at element 1")],
)
async def test_a_delta_is_looked_over(
    offload: ProcessOffload, tmp_path: Path, values: list[float], sentence: str | None
) -> None:
    """Right length and finite, or `Unusable` with a sentence."""
    delta = write_delta(tmp_path / "delta", values)
    if sentence is None:
        await offload.check_delta(delta, "f32", 2)
    else:
        with pytest.raises(Unusable, match=sentence):
            await offload.check_delta(delta, "f32", 2)


async def test_what_a_library_prints_is_no_answer() -> None:
    """Only answers reach the parent's pipe."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from headwater_control.edges import offload_child as child\n"
        "child._JOBS['merge'] = lambda: print('noise', flush=True)\n"
        "child.main()",
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps({"job": "merge", "arguments": []}).encode() + b"\n")
    async with asyncio.timeout(DEADLINE_S):
        answer = await child.stdout.readline()
        rest, said = await child.communicate(b"")
    assert (json.loads(answer), rest, said) == ({"done": None}, b"", b"noise\n")
