"""The control plane's heavy work: the real merge and the real look at a delta, in a child that may die of it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from headwater_control import strategies
from headwater_control.ports import Checked, Imported, ImportJob, MergeJob, OffloadFailed, Unusable
from headwater_control.strategies.merge import merge as fold
from headwater_wire import codecs
from headwater_wire.errors import WireError
from headwater_wire.floats import check_finite

from tests.simulation import model
from tests.simulation.weather import Fate


class SimulatedOffload:
    """The port `Offload`; of importing and composing only the shape."""

    def __init__(self, fate: Fate, troubled: Callable[[], None]) -> None:
        self._fate = fate
        self._troubled = troubled

    async def import_model(self, job: ImportJob) -> Imported:
        """Take any file."""
        manifest, parameters, blobs = await asyncio.to_thread(_bundle, job)
        return Imported(manifest, parameters, blobs, elements=model.ELEMENTS, notes=())

    async def check_model(self, job: ImportJob, batch_size: int) -> Checked:
        """Nobody asks."""
        raise NotImplementedError

    async def compile(self, manifest: Path, graph: Path, training: str, out_dir: Path) -> Imported:
        """All train the same way."""
        raise NotImplementedError

    async def import_version(self, manifest: Path, source: Path, out_path: Path) -> None:
        """Nobody asks."""
        raise NotImplementedError

    async def compose(self, manifest: Path, graph: Path, parameters: Path, out_dir: Path) -> tuple[Path, Path]:
        """Make what a box installs."""
        await self._take_time()
        return await asyncio.to_thread(_compose, graph, parameters, out_dir)

    async def check_delta(self, path: Path, codec: str, elements: int) -> None:
        """Look a delta over, as the real one does."""
        await asyncio.to_thread(_check_delta, path, codec, elements)

    async def merge(self, job: MergeJob) -> None:
        """Merge, as the real one does, or die of it."""
        await self._take_time()
        await asyncio.to_thread(_merge, job)
        await self._take_time()

    async def _take_time(self) -> None:
        await asyncio.sleep(self._fate.delay_s())
        if self._fate.strikes(self._fate.weather.sick):
            self._troubled()
            raise OffloadFailed("the child died: out of memory")


def _bundle(job: ImportJob) -> tuple[Path, Path, tuple[Path, ...]]:
    return model.write_bundle(job.onnx_path.read_bytes(), job.out_dir)


def _compose(graph: Path, parameters: Path, out_dir: Path) -> tuple[Path, Path]:
    places = out_dir / "model.onnx", out_dir / "reference.safetensors"
    for place, data in zip(places, model.composed(graph.read_bytes(), parameters.read_bytes()), strict=True):
        place.write_bytes(data)
    return places


def _check_delta(path: Path, codec: str, elements: int) -> None:
    try:
        with codecs.open_delta(path, codec, elements) as delta:
            check_finite(delta, "the delta")
    except WireError as error:
        raise Unusable(str(error)) from error


def _merge(job: MergeJob) -> None:
    weights = strategies.weights(job.strategy, [examples for _, examples in job.deltas])
    try:
        fold(
            job.base_path,
            [(path, w) for (path, _), w in zip(job.deltas, weights, strict=True)],
            job.codec,
            job.out_path,
        )
    except WireError as error:
        raise Unusable(str(error)) from error
    except OSError as error:  # who cancels a run takes its deltas away
        raise OffloadFailed(str(error)) from error
