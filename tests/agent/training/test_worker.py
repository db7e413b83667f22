"""The training child as a real process: jobs in, sentences out, whatever happens."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.training.protocol import (
    Broke,
    Check,
    Checked,
    ColumnConfig,
    DatasetConfig,
    Inspect,
    Inspected,
    Refused,
    Stepped,
    Train,
    Trained,
    dump,
)
from headwater_wire import codecs, digests, manifest, tensors
from headwater_wire.messages import Plan

from tests.agent.training import bundles
from tests.agent.training.workers import DEADLINE_S, Worker

PLAN = Plan(epochs=3, batch_size=8, learning_rate=0.2, seed=5, holdout=0.25, threads=1)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One warm worker for all tests that don't hurt it."""
    with Worker() as started:
        yield started


@pytest.fixture
def job(tmp_path: Path) -> Train:
    """A job that works: y = x·w + b on a hundred examples of three classes."""
    files = bundles.linear(tmp_path / "bundle")
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 100)
    x = random.standard_normal((100, 4)) + np.eye(3, 4)[label] * 3
    np.savez(tmp_path / "data.npz", x=x.astype(np.float32), label=label)
    columns = (ColumnConfig("x", ("x",)), ColumnConfig("label", ("label",), dtype="int64"))
    dataset = DatasetConfig("parts", "npz", str(tmp_path / "data.npz"), columns)
    return Train(
        "task-1",
        str(files.manifest_path),
        files.blobs,
        str(files.base_path),
        str(tmp_path / "delta"),
        dataset,
        PLAN,
    )


def graph_of(job: Train) -> str:
    """Name the file of the job's graph, which runs as a model."""
    graph = manifest.parse(Path(job.manifest_path).read_bytes()).graph
    return dict(job.files)[graph.digest]


def read_delta(job: Train) -> np.ndarray:
    """Read the numbers of a job's delta."""
    with codecs.open_delta(Path(job.delta_path), "f32", 15) as floats:
        return floats.load()


def test_a_job_makes_a_delta_that_lowers_the_loss(worker: Worker, job: Train) -> None:
    """The delta is described by its digest, and base + delta scores better on the same held-out share."""
    trained = worker.do(job)
    assert isinstance(trained, Trained) and trained.delta == digests.of_file(Path(job.delta_path))
    assert (trained.metrics.examples, trained.metrics.holdout_examples) == (74, 26)
    with tensors.open_vector(Path(job.base_path)) as floats:
        better = floats.load() + read_delta(job)
    path = Path(job.base_path).with_name("better.safetensors")
    layout = tensors.read_layout(Path(job.base_path))
    tensors.write_vector(path, tensors.parameters_of(layout), better)
    scored = worker.do(replace(job, base_path=str(path), plan=replace(PLAN, train=False)))
    assert isinstance(scored, Trained) and scored.delta is None
    assert scored.metrics.holdout_loss < trained.metrics.holdout_loss / 2
    assert scored.metrics.holdout_correct is not None and scored.metrics.holdout_correct > 20


def test_two_processes_give_the_same_bits(job: Train) -> None:
    """Same job, same machine, one thread: the deltas are equal byte by byte, in a cold worker and a warm one."""
    described = []
    for _ in range(2):
        with Worker() as worker:
            for _ in range(2):
                reply = worker.do(job)
                assert isinstance(reply, Trained)
                described.append(reply.delta)
    assert len(set(described)) == 1


def test_another_seed_gives_another_delta(worker: Worker, job: Train) -> None:
    """The seed orders the examples, so it can be seen in the bits."""
    worker.do(job)
    one = read_delta(job)
    worker.do(replace(job, plan=replace(PLAN, seed=6)))
    assert not np.array_equal(one, read_delta(job))


def test_progress_is_told_a_few_times_a_second(worker: Worker, job: Train) -> None:
    """Of many quick steps only some are told, at most four a second, in order."""
    started = time.monotonic()
    worker.do(replace(job, plan=replace(PLAN, epochs=60, batch_size=1)))
    seconds = time.monotonic() - started
    assert 1 <= len(worker.steps) <= 1 + 4 * seconds
    told = [step.step for step in worker.steps]
    assert told == sorted(set(told)) and {step.steps for step in worker.steps} == {1 + 1 + 60 * 74}


def test_a_loaded_dataset_is_a_step(worker: Worker, job: Train) -> None:
    """The first one, before anything is computed; a job that only scores has it too."""
    for plan in (PLAN, replace(PLAN, train=False)):
        worker.do(replace(job, plan=plan))
        steps = 1 + 1 + (PLAN.epochs * ceil(74 / PLAN.batch_size) if plan.train else 0)
        assert worker.steps[0] == Stepped(1, steps, 0.0)


def test_a_dataset_is_inspected(worker: Worker, job: Train) -> None:
    """Schema and count; never a path or a sample."""
    reply = worker.do(Inspect(job.dataset))
    assert isinstance(reply, Inspected) and reply.card.problem == ""
    assert [(column.name, column.dtype, column.shape) for column in reply.card.columns] == [
        ("x", "float32", (4,)),
        ("label", "int64", ()),
    ]
    assert reply.card.examples == 100


def test_what_is_wrong_with_a_dataset_stands_in_its_card(worker: Worker, job: Train) -> None:
    """Inspecting a missing file is no failure of the job."""
    reply = worker.do(Inspect(replace(job.dataset, path="/nowhere/data.npz")))
    assert isinstance(reply, Inspected) and "/nowhere/data.npz" in reply.card.problem
    assert reply.card.examples == 0


def test_a_changed_file_is_read_again(worker: Worker, job: Train) -> None:
    """A warm worker keeps a dataset only as long as its file stays as it was."""
    worker.do(Inspect(job.dataset))
    np.savez(job.dataset.path, x=np.ones((7, 4), np.float32), label=np.zeros(7, np.int64))
    reply = worker.do(Inspect(job.dataset))
    assert isinstance(reply, Inspected) and reply.card.examples == 7


def test_a_dataset_that_does_not_fit_is_refused(worker: Worker, job: Train) -> None:
    """A reason for a person, and the worker lives on."""
    columns = (replace(job.dataset.columns[0], shape=(2, 2)), job.dataset.columns[1])
    reply = worker.do(replace(job, dataset=replace(job.dataset, columns=columns)))
    assert isinstance(reply, Refused) and "declare shape = [4]" in reply.reason
    assert isinstance(worker.do(job), Trained)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"manifest_path": "/nowhere"}, "the model can't be read"),
        ({"base_path": "/nowhere"}, "the model can't be read"),
        ({"plan": replace(PLAN, codec="zip")}, "knows no codec 'zip' (it knows f32)"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused(worker: Worker, job: Train, change: dict[str, object], told: str) -> None:
    """Each reason says what is missing, and no delta appears."""
    reply = worker.do(replace(job, **change))  # type: ignore[arg-type]
    assert isinstance(reply, Refused) and told in reply.reason
    assert not Path(job.delta_path).exists()


def test_a_base_of_another_model_is_refused(worker: Worker, job: Train, tmp_path: Path) -> None:
    """Parameters must be those of the manifest, by name and shape."""
    other = bundles.linear(tmp_path / "other", features=5)
    reply = worker.do(replace(job, base_path=str(other.base_path)))
    assert isinstance(reply, Refused) and "'w' is (5, 3); model test wants (4, 3)" in reply.reason


def test_a_diverging_run_breaks_with_advice(worker: Worker, job: Train) -> None:
    """With an absurd learning rate the loss overflows: the step, the rate and what to do are told."""
    reply = worker.do(replace(job, plan=replace(PLAN, learning_rate=1e38, epochs=20)))
    assert isinstance(reply, Broke) and "learning rate 1e+38" in reply.reason
    assert not Path(job.delta_path).exists()
    assert isinstance(worker.do(job), Trained), "a diverged session must not poison the next job"


def test_a_job_that_cannot_write_breaks(worker: Worker, job: Train) -> None:
    """A full or missing disk is a failure of this try, told in a sentence without a traceback."""
    reply = worker.do(replace(job, delta_path="/nowhere/delta"))
    assert isinstance(reply, Broke) and "No such file" in reply.reason and "Traceback" not in reply.reason


@pytest.mark.parametrize("line", [b"{}\n", b"not json\n", b'{"kind": "Stepped", "step": 1, "steps": 2, "loss": 0}\n'])
def test_what_is_no_job_is_refused(worker: Worker, line: bytes) -> None:
    """A line that is none of ours gets an answer too, and the worker lives on."""
    assert isinstance(worker.say(line), Refused)
    assert worker.process.poll() is None


def test_checking_agrees_with_the_reference(worker: Worker, job: Train, tmp_path: Path) -> None:
    """The model's outputs on the reference inputs, within tolerance: no problem; else which output, and how far."""
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    with tensors.open_vector(Path(job.base_path)) as floats:
        base = floats.load()
    y = (x @ base[3:].reshape(4, 3) + base[:3]).astype(np.float32)
    reference = tmp_path / "reference.safetensors"
    tensors.write_tensors(reference, {"input.x": x, "output.y": y})
    assert worker.do(Check(graph_of(job), str(reference), 1e-4)) == Checked("")
    y[1, 2] += 1
    tensors.write_tensors(reference, {"input.x": x, "output.y": y})
    reply = worker.do(Check(graph_of(job), str(reference), 1e-4))
    assert isinstance(reply, Checked) and "'y' differs from the reference by up to 1 in 1 of 9" in reply.problem


def test_ending_stdin_ends_the_worker() -> None:
    """A worker without a job ends cleanly, and says nothing."""
    with Worker() as worker:
        assert worker.end() == (0, "")


def test_a_job_sent_before_stdin_ended_is_still_answered(job: Train) -> None:
    """Used once, with its input piped in, the worker finishes what it was given."""
    command = [sys.executable, "-m", "headwater_agent.training.worker", "--confinement", "off"]
    done = subprocess.run(command, input=dump(Inspect(job.dataset)), capture_output=True, timeout=DEADLINE_S)
    assert b'"Inspected"' in done.stdout and done.returncode == 0


def test_a_named_step_can_kill_it(job: Train) -> None:
    """The hook for crash tests is met at each step and before the answer."""
    for where, wanted in (("train.step:4", False), ("train.done", True)):
        Path(job.delta_path).unlink(missing_ok=True)
        with Worker(env={"HEADWATER_CRASH_AT": where}) as worker:
            with pytest.raises(EOFError):
                worker.do(job)
            assert worker.process.wait(DEADLINE_S) == -signal.SIGKILL
        assert Path(job.delta_path).exists() is wanted


_PARENT = """
import subprocess, sys
from headwater_agent.training import protocol
command = [sys.executable, "-m", "headwater_agent.training.worker", "--confinement", "off"]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(sys.stdin.buffer.readline()); child.stdin.flush()
child.stdout.readline()  # a step: it trains
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_agent_takes_its_worker_along(job: Train) -> None:
    """kill -9 of the parent ends a worker in the middle of training."""
    long = replace(job, plan=replace(PLAN, epochs=100_000, batch_size=1))
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdin.write(dump(long))
        parent.stdin.flush()
        pid = int(parent.stdout.readline())
        ended = os.pidfd_open(pid)
        parent.kill()
    try:
        assert select.select([ended], [], [], DEADLINE_S)[0], "the worker outlived its agent"
    finally:
        os.close(ended)


_SLEEPER = """
import subprocess, sys
code = "import signal; from headwater_agent.training import lifeline; lifeline.die_with_parent(); "
code += "print('ready'); signal.pause()"
child = subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_child_in_the_middle_of_anything_dies_with_its_parent() -> None:
    """A process on the lifeline ends by kill -9 of its parent even while it does nothing but wait."""
    with subprocess.Popen([sys.executable, "-c", _SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        ended = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([ended], [], [], DEADLINE_S)[0]
    finally:
        os.close(ended)


_NOISY = """
import os
from headwater_agent.training.worker import take_descriptors
jobs, out = take_descriptors()
print("a library prints", flush=True)
os.write(1, b"so does its C++ part\\n")
out.write(jobs.readline())
"""


def test_what_libraries_print_is_no_answer() -> None:
    """Whatever is written to descriptor 1 goes to stderr; only the protocol reaches the daemon."""
    command = [sys.executable, "-c", _NOISY]
    done = subprocess.run(command, input=b"echo\n", capture_output=True, timeout=DEADLINE_S, check=True)
    assert done.stdout == b"echo\n"
    assert done.stderr.splitlines() == [b"a library prints", b"so does its C++ part"]


def test_the_constant_engine_needs_no_runtime(job: Train) -> None:
    """For benches: every number moves by rate times steps, and the graph isn't even read."""
    plan = replace(PLAN, learning_rate=0.5, epochs=2, batch_size=100)
    with Worker("constant") as worker:
        reply = worker.do(replace(job, files=(), plan=plan))
    assert isinstance(reply, Trained)
    np.testing.assert_allclose(read_delta(job), np.ones(15), rtol=1e-6)  # base + 1 − base, in float32
