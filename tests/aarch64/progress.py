"""Tells what goes on while it takes long."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_WORTH_TELLING_S = 2.0
_console = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is done and for how long; what took over two seconds stays on the screen. Yields a way to add to it."""
    began = time.perf_counter()
    lasting = not _console.is_terminal
    if lasting:
        _console.print(f"{what} …")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=_console, transient=True, disable=lasting) as progress:
        task = progress.add_task(what, total=None)
        yield lambda more: progress.update(task, description=f"{what}: {more}")
    if (seconds := time.perf_counter() - began) > _WORTH_TELLING_S:
        _console.print(f"{what}: {seconds:.0f} s")
