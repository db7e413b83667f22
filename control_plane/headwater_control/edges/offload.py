"""Heavy work off the event loop: merging in a child kept warm, compiling in one per job, so that its memory returns."""

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headwater_wire import codecs
from headwater_wire.errors import WireError
from headwater_wire.floats import check_finite

from headwater_control.ports import Checked, CheckedRow, Imported, ImportJob, MergeJob, OffloadFailed, Unusable

log = logging.getLogger(__name__)

_ATTEMPTS = 2  # a child may be killed from outside; nothing is lost, since it only reads immutable files
_STOP_S = 10.0
_END_S = 1.0
_LINE_BYTES = 16 * 1024 * 1024  # a merge of 100,000 deltas


class ProcessOffload:
    """The port `Offload`. Leaving its context ends the children; cancelling a call kills the child that works on it."""

    def __init__(self, *, merge_s: float = 3600.0, compile_s: float = 900.0) -> None:
        self._merge_s = merge_s
        self._compile_s = compile_s
        self._merger = _Child()
        self._compiling = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._merger.stop()

    async def warm(self) -> None:
        """Start the merging child ahead of its first job, if the system has room for it now."""
        try:
            await self._merger.start()
        except OSError as error:
            log.warning("the child that merges can't be started yet: %s", error)

    async def import_model(self, job: ImportJob) -> Imported:
        """Check, make the bundle, and prove once that it trains."""
        arguments = (str(job.onnx_path), str(job.out_dir), job.model, job.loss, list(job.trainable), job.output)
        return _imported(await self._compile("import_model", *arguments))

    async def check_model(self, job: ImportJob, batch_size: int) -> Checked:
        """Do as an import would, take some steps, and say what it takes."""
        arguments = (str(job.onnx_path), str(job.out_dir), job.loss, list(job.trainable), job.output, batch_size)
        done = await self._compile("check_model", *arguments)
        rows = tuple(CheckedRow(**{**row, "shape": tuple(row["shape"])}) for row in done.pop("rows"))
        return Checked(**{**done, "rows": rows, "notes": tuple(done["notes"])})

    async def compile(self, manifest: Path, graph: Path, training: str, out_dir: Path) -> Imported:
        """Make a model's bundle for another way of training."""
        return _imported(await self._compile("compile_bundle", str(manifest), str(graph), training, str(out_dir)))

    async def import_version(self, manifest: Path, source: Path, out_path: Path) -> None:
        """Turn centrally retrained parameters (safetensors, npz or ONNX, by name) into a version's file."""
        await self._compile("import_version", str(manifest), str(source), str(out_path))

    async def compose(self, manifest: Path, graph: Path, parameters: Path, out_dir: Path) -> tuple[Path, Path]:
        """Make (model.onnx, reference.safetensors) of a version."""
        onnx, reference = await self._compile("compose", str(manifest), str(graph), str(parameters), str(out_dir))
        return Path(onnx), Path(reference)

    async def check_delta(self, path: Path, codec: str, elements: int) -> None:
        """Look a staged delta over: length, and every value finite."""
        await asyncio.to_thread(_check_delta, path, codec, elements)

    async def merge(self, job: MergeJob) -> None:
        """Write the merged version to job.out_path, not yet synced."""
        deltas = [(str(path), examples) for path, examples in job.deltas]
        arguments = (job.strategy, str(job.base_path), deltas, job.codec, str(job.out_path))
        try:
            await self._merger.call("merge", *arguments, deadline_s=self._merge_s)
        except _Died as error:
            raise OffloadFailed(f"the merge's process died {_ATTEMPTS} times: {error}; is there memory?") from error

    async def _compile(self, name: str, *arguments: object) -> Any:
        async with self._compiling:  # one at a time: each takes some 200 MB and all cores
            child = _Child()
            try:
                return await child.call(name, *arguments, deadline_s=self._compile_s)
            except _Died as error:
                raise Unusable(
                    f"{name.replace('_', ' ')}: the process died {_ATTEMPTS} times: {error}; the model makes the "
                    "runtime crash, or needs more memory than there is"
                ) from error
            finally:
                await child.stop()


class _Died(Exception):
    """The child ended in the middle of a job, each time it was tried."""


class _Child:
    """One child process: started when needed, again when it died, and killed when its job is no longer wanted."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._over = False

    async def start(self) -> None:
        """Start it, unless it runs."""
        async with self._lock:
            await self._running()

    async def call(self, name: str, *arguments: object, deadline_s: float) -> Any:
        """Have a job done, after those before it.

        Raises `Unusable`, `OffloadFailed`, or `_Died`.
        """
        line = json.dumps({"job": name, "arguments": arguments}).encode() + b"\n"
        async with self._lock:
            for _ in range(_ATTEMPTS):
                try:
                    async with asyncio.timeout(deadline_s):
                        answer = await _exchange(await self._running(), line)
                except TimeoutError as error:
                    await self._kill()
                    raise OffloadFailed(f"{name} took longer than {deadline_s:g} s") from error
                except BaseException:
                    await self._kill()
                    raise
                if answer.endswith(b"\n"):
                    return _result(json.loads(answer))
                status = await self._kill(patience_s=_END_S)
                log.warning("the child process died in %s with status %s", name, status)
        raise _Died(f"status {status}")

    async def stop(self) -> None:
        """End it for good, whatever it does."""
        self._over = True
        await self._kill()

    async def _running(self) -> Process:
        if self._over:
            raise OffloadFailed("the control plane is shutting down")
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"{__name__}_child", stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES
            )
        return self._process

    async def _kill(self, *, patience_s: float = 0.0) -> int | None:
        """End it, and give its status; `patience_s` is for one that is ending by itself."""
        process, self._process = self._process, None
        if process is None:
            return None
        if patience_s:  # else Popen.send_signal might reap it before asyncio does, and its status be lost
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    return await process.wait()
        with suppress(ProcessLookupError):  # it is dead already
            process.kill()
        with suppress(TimeoutError):  # stuck in the kernel: it ends when the kernel lets go
            async with asyncio.timeout(_STOP_S):
                return await process.wait()
        return None


async def _exchange(process: Process, line: bytes) -> bytes:
    """Send a job and wait for the answer: what comes without its newline was cut short by the child's end."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError, ConnectionResetError):  # then the answer is empty
        process.stdin.write(line)
        await process.stdin.drain()
    return await process.stdout.readline()


def _imported(done: dict[str, Any]) -> Imported:
    return Imported(
        manifest_path=Path(done["manifest_path"]),
        parameters_path=Path(done["parameters_path"]),
        blob_paths=tuple(Path(path) for path in done["blob_paths"]),
        elements=done["elements"],
        notes=tuple(done["notes"]),
    )


def _result(answer: dict[str, Any]) -> Any:
    if "unusable" in answer:
        raise Unusable(answer["unusable"])
    if "failed" in answer:
        raise OffloadFailed(answer["failed"])
    return answer["done"]


def _check_delta(path: Path, codec: str, elements: int) -> None:
    try:
        with codecs.open_delta(path, codec, elements) as delta:
            check_finite(delta, "the delta")
    except WireError as error:
        raise Unusable(str(error)) from error
