"""What was fetched once and is used again: a folder of folders, each with a note of what it was made from."""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten

from tests.aarch64.progress import doing

FETCH_TIMEOUT_S = 900.0
_NOTE = "made-from"


class CannotPrepare(Exception):
    """Something that the check needs can't be had; the message says what, and what to do."""


def open_cache(folder: Path) -> Path:
    """Make the cache's folder, which hides itself from git."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    return folder.resolve()


def note(folder: Path) -> str:
    """Tell what a folder was made from; nothing, if it is not there."""
    return (folder / _NOTE).read_text() if (folder / _NOTE).is_file() else ""


def kept(folder: Path, made_from: str, what: str, make: Callable[[Path], object]) -> Path:
    """Give `folder`; unless one made from the same is there, have `make` fill it, and tell what that is.

    Half a folder is never there.
    """
    if note(folder) == made_from:
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    with doing(what):
        make(partial)
    (partial / _NOTE).write_text(made_from)
    return partial.rename(folder)


def run(
    command: Sequence[str | Path],
    advice: str,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = FETCH_TIMEOUT_S,
) -> str:
    """Give what a command prints; raise `CannotPrepare` with its last words, and the advice, if it fails."""
    told = shorten(" ".join(str(part) for part in command), 200, placeholder=" …")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", cwd=cwd, env=env, timeout=timeout_s, check=False
        )
    except FileNotFoundError as error:
        raise CannotPrepare(f"there is no {command[0]} on this machine: {advice}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotPrepare(f"`{told}` did not end within {timeout_s:.0f} s: {advice}") from error
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        last = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).strip().splitlines()[-8:])
        raise CannotPrepare(f"`{told}` ended with {how}: {advice}\n{last}")
    return done.stdout
