"""Whether a dataset has changed, by its declaration and what the file system tells of its files."""

import hashlib
from pathlib import Path

from headwater_agent.training.protocol import DatasetConfig

_FILES_LIMIT = 10_000  # of a folder: beyond, a change may go unnoticed until the next one


def fingerprint(dataset: DatasetConfig) -> str:
    """Give another text once the declaration, a file or (in a folder) the set of files is another."""
    path = Path(dataset.path)
    try:
        files = sorted(path.iterdir())[:_FILES_LIMIT] if path.is_dir() else [path]
        stats = [(file.name, *_stat(file)) for file in files]
    except OSError as error:
        stats = [(path.name, error.errno or 0, 0, 0)]
    return hashlib.sha256(repr((dataset, stats)).encode()).hexdigest()[:16]


def _stat(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
