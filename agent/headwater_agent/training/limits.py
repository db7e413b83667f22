"""Limits on what the worker may use: setrlimit(2); and that it goes first when the machine runs short: proc(5)."""

import resource
from contextlib import suppress
from pathlib import Path

_OPEN_FILES = 256
OUTPUT_BYTES = 4 << 30  # of one file, unless said otherwise: a delta is as large as the model


def restrict(output_bytes: int = OUTPUT_BYTES, memory_bytes: int | None = None) -> None:
    """Leave no core dump, which holds the data; bound the size of a file, the number of open ones, and the memory."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, output_bytes)
    if memory_bytes is not None:
        restrict_memory(memory_bytes)


def restrict_memory(memory_bytes: int) -> None:
    """Bound the memory.

    The memory is RLIMIT_DATA: what the process may fill, threads' stacks included. RLIMIT_AS would count the libraries,
    the address space that malloc and ONNX Runtime only reserve, and datasets that are mapped and not copied: a limit
    that lets those pass is none.
    """
    _lower(resource.RLIMIT_DATA, memory_bytes)


def go_first() -> None:
    """Have the kernel end this process, and no other, when the machine's memory runs out. Linux only."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # anybody may raise its own


def _lower(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))
