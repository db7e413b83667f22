"""Temporary folders on the blobs' file system, so that what is made there can be moved into the blobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory


@contextmanager
def workspace(work_dir: Path) -> Iterator[Path]:
    """Open a folder that is gone on leaving."""
    work_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=work_dir, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clear(work_dir: Path) -> None:
    """Remove what a crash left behind: folders of ours, and files that were being received."""
    for left in work_dir.glob("*"):
        if left.is_dir():
            rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
