"""What was fetched once."""

from pathlib import Path

import pytest

from tests.aarch64.cache import CannotPrepare, kept, note, run


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    """A folder is filled once, and again only when it is to be made from something else."""
    made: list[Path] = []
    for source in ("one", "one", "two"):
        folder = kept(tmp_path / "kept", source, "filling", made.append)
        assert note(folder) == source
    assert len(made) == 2


def test_half_a_folder_is_never_there(tmp_path: Path) -> None:
    """When filling fails, nothing is kept of it, nor of what was to be replaced; the next time it is filled anew."""

    def half(empty: Path) -> None:
        (empty / "first").touch()
        raise CannotPrepare("no second")

    kept(tmp_path / "kept", "one", "filling", lambda empty: (empty / "old").touch())
    with pytest.raises(CannotPrepare):
        kept(tmp_path / "kept", "two", "filling", half)
    assert not (tmp_path / "kept").exists()
    folder = kept(tmp_path / "kept", "two", "filling", lambda empty: (empty / "second").touch())
    assert [path.name for path in folder.iterdir() if path.name in ("old", "first", "second")] == ["second"]


def test_a_failed_command_says_what_it_said() -> None:
    """A command that fails, or is missing, gives its last words and the advice."""
    with pytest.raises(CannotPrepare, match="exit code 3: look at the disk\n  it is full"):
        run(["sh", "-c", "echo it is full >&2; exit 3"], "look at the disk")
    with pytest.raises(CannotPrepare, match="no headwater-nothing on this machine: install it"):
        run(["headwater-nothing"], "install it")
