"""The child process for heavy work: a job is a line of JSON on stdin, its end one on stdout; it dies with its parent.

Run as `python -m headwater_control.edges.offload_child`. A pool of multiprocessing would import the server's main
module into its children, could not kill one for a cancelled job, and its children outlive a killed server.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from headwater_wire.errors import WireError
from headwater_wire.telemetry import tell_nobody

from headwater_control import strategies
from headwater_control.compiler.errors import CompileError
from headwater_control.strategies.merge import merge as fold

if TYPE_CHECKING:
    from headwater_control.compiler.importer import Imported

_MAX_SENTENCE = 4000


def merge(strategy: str, base: str, deltas: list[tuple[str, int]], codec: str, out: str) -> None:
    """Fold deltas (path, examples) into the base."""
    weights = strategies.weights(strategy, [examples for _, examples in deltas])
    fold(
        Path(base), [(Path(path), weight) for (path, _), weight in zip(deltas, weights, strict=True)], codec, Path(out)
    )


def import_model(onnx: str, out_dir: str, model: str, loss: str, trainable: list[str], output: str) -> dict[str, Any]:
    """Make a bundle; say what it is and where."""
    from headwater_control.compiler.importer import import_model as run

    return _told(run(Path(onnx), Path(out_dir), model, loss, tuple(trainable), output))


def check_model(
    onnx: str, out_dir: str, loss: str, trainable: list[str], output: str, batch_size: int
) -> dict[str, Any]:
    """Say what training a model takes."""
    from headwater_control.compiler.report import report

    return asdict(report(Path(onnx), Path(out_dir), loss, tuple(trainable), output, batch_size))


def compile_bundle(manifest: str, graph: str, training: str, out_dir: str) -> dict[str, Any]:
    """Make a model's bundle for another way of training."""
    from headwater_control.compiler.importer import compile_bundle as run

    return _told(run(Path(manifest), Path(graph), training, Path(out_dir)))


def _told(imported: "Imported") -> dict[str, Any]:
    return {
        "manifest_path": str(imported.manifest_path),
        "parameters_path": str(imported.parameters_path),
        "blob_paths": [str(path) for path in imported.blob_paths],
        "elements": imported.elements,
        "notes": list(imported.notes),
    }


def import_version(manifest: str, source: str, out: str) -> None:
    """Turn retrained parameters into a version's file."""
    from headwater_control.compiler.parameters import import_version as run

    run(Path(manifest), Path(source), Path(out))


def compose(manifest: str, graph: str, parameters: str, out_dir: str) -> list[str]:
    """Make model.onnx and its reference."""
    from headwater_control.compiler.compose import compose as run

    return [str(path) for path in run(Path(manifest), Path(graph), Path(parameters), Path(out_dir))]


# The compiler is imported by the job that needs it: onnx and onnxruntime take a second and 100 MB.
_JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job for job in (merge, import_model, check_model, compile_bundle, import_version, compose)
}


def main() -> None:
    """Serve until stdin ends: then stop at once, also in the middle of a job, since the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, sent to the whole group
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # if memory ends, the kernel ends this process and not the server
        Path("/proc/self/oom_score_adj").write_text("500")
    tell_nobody()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not look like an answer
    jobs: queue.Queue[str] = queue.Queue(maxsize=1)
    threading.Thread(target=_listen, args=(sys.stdin, jobs), name="offload.listen", daemon=True).start()
    while True:
        answers.write(json.dumps(_run(jobs.get())) + "\n")


def _listen(source: TextIO, jobs: "queue.Queue[str]") -> None:
    for line in source:
        jobs.put(line)
    os._exit(0)


def _run(line: str) -> dict[str, Any]:
    job = json.loads(line)
    try:
        return {"done": _JOBS[job["job"]](*job["arguments"])}
    except (WireError, CompileError) as error:
        return {"unusable": str(error)[:_MAX_SENTENCE]}
    except (OSError, MemoryError) as error:
        return {"failed": f"{type(error).__name__}: {error}"[:_MAX_SENTENCE]}
    except Exception as error:
        traceback.print_exc()  # a bug: stderr is the server's
        return {"failed": f"{error!r}; its log says where"[:_MAX_SENTENCE]}


if __name__ == "__main__":
    main()
