"""Does one job after the other, and keeps what the next one is likely to need: a dataset and a prepared model."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from headwater_wire import codecs, digests, manifest
from headwater_wire.errors import WireError
from headwater_wire.manifest import Manifest
from headwater_wire.messages import DatasetCard
from headwater_wire.tensors import open_vector

from headwater_agent.core.guard import examples_objection
from headwater_agent.core.shares import steps_of
from headwater_agent.training import demand, floors
from headwater_agent.training.client_update import update
from headwater_agent.training.datasets import Dataset, open_dataset, stamp
from headwater_agent.training.engine import Bundle, Engine, Session, Vector
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.keeper import Keeper
from headwater_agent.training.protocol import (
    Check,
    Checked,
    DatasetConfig,
    Inspect,
    Inspected,
    Job,
    Protect,
    Reply,
    Stepped,
    Train,
    Trained,
)

Say = Callable[[Stepped], None]


class Desk:
    """One worker's state. Not for two threads."""

    def __init__(self, make_engine: Callable[[], Engine], asked: Callable[[], bool] = lambda: False) -> None:
        """Take how to make an engine, and what says whether a training is to stop."""
        self._asked = asked
        self._make_engine = make_engine  # called by the first Train job: importing an engine takes a third of a second
        self._engine: Engine | None = None
        self._dataset: tuple[tuple[object, ...], Dataset] | None = None
        self._session: tuple[tuple[str, int], Session] | None = None

    def do(self, job: Job, say: Say) -> Reply:
        """Do a job, telling of its steps; raise `TrainingError` if it can't be done, `Interrupted` if asked to stop."""
        match job:
            case Train():
                return self._train(job, say)
            case Inspect(dataset):
                return self._inspect(dataset)
            case Check(onnx_path, reference_path, tolerance):
                from headwater_agent.training.conformance import problem_with  # only now is onnxruntime needed

                return Checked(problem_with(Path(onnx_path), Path(reference_path), tolerance))
            case Protect():
                return floors.guarded(job)

    def close(self) -> None:
        """Let go of what was kept."""
        self._dataset = None
        if self._session is not None:
            self._session[1].close()
            self._session = None

    def _train(self, job: Train, say: Say) -> Trained:
        description, base = _read(job)
        if job.plan.train and job.plan.codec not in codecs.NAMES:
            raise NotPossible(f"this agent knows no codec {job.plan.codec!r} (it knows {', '.join(codecs.NAMES)})")
        dataset = self._open(job.dataset)
        if too_few := examples_objection(dataset.name, dataset.count, job.plan, job.floor):
            raise NotPossible(too_few)
        demand.check(dataset, description)
        steps = 1 + steps_of(dataset.count, job.plan)
        say(Stepped(1, steps, 0.0))  # loading took long, perhaps, and preparing the model may too
        session = self._prepare(
            Bundle(description, {digest: Path(path) for digest, path in job.files}), job.plan.threads
        )

        def report(step: int, _: int, loss: float) -> None:
            say(Stepped(1 + step, steps, loss))

        keeper = self._keeper(job, description, base)
        result = update(session, dataset, base, job.plan, report, description.loss.kind, keeper)
        if result.delta is None:
            return Trained(result.metrics, None)
        delta_path = Path(job.delta_path)
        codecs.write_delta(delta_path, result.delta, "f32" if job.floor.clip_norm else job.plan.codec)
        return Trained(result.metrics, digests.of_file(delta_path))

    def _keeper(self, job: Train, description: Manifest, base: Vector) -> Keeper:
        """Keep checkpoints for exactly this training: one that differs in anything the bits depend upon is another."""
        if job.checkpoints is None or not job.plan.train:
            return Keeper(asked=self._asked, max_minutes=job.max_minutes)
        assert self._engine is not None and self._dataset is not None, "both were needed to come here"
        depends = (
            job.task,
            digests.of_bytes(description.to_bytes()).digest,
            digests.of_bytes(base.data.cast("B")).digest,
            job.plan,
            self._dataset[0],
            self._engine.version(),
            (np.__version__, platform.machine(), _release()),
            len(os.sched_getaffinity(0)) if job.plan.threads == 0 else job.plan.threads,
        )
        of = digests.of_bytes(repr(depends).encode()).digest
        return Keeper(job.checkpoints, of, self._asked, max_minutes=job.max_minutes)

    def _inspect(self, config: DatasetConfig) -> Inspected:
        try:
            return Inspected(self._open(config).card())
        except NotPossible as error:
            return Inspected(DatasetCard(config.name, 0, problem=str(error)))

    def _open(self, config: DatasetConfig) -> Dataset:
        now = stamp(config)
        if self._dataset is None or self._dataset[0] != now:
            self._dataset = None  # never two in memory
            self._dataset = (now, open_dataset(config))
        return self._dataset[1]

    def _prepare(self, bundle: Bundle, threads: int) -> Session:
        key = (digests.of_bytes(bundle.manifest.to_bytes()).digest, threads)
        if self._session is None or self._session[0] != key:
            if self._session is not None:
                self._session[1].close()
                self._session = None
            self._engine = self._engine or self._make_engine()
            self._session = (key, self._engine.open(bundle, threads))
        return self._session[1]


def _release() -> str:
    try:
        return version("headwater")
    except PackageNotFoundError:  # run from a folder on PYTHONPATH
        return ""


def _read(job: Train) -> tuple[Manifest, Vector]:
    try:
        description = manifest.parse(Path(job.manifest_path).read_bytes())
        with open_vector(Path(job.base_path), description) as floats:
            return description, floats.load()
    except (OSError, WireError) as error:
        raise NotPossible(f"the model can't be read: {error}") from error
