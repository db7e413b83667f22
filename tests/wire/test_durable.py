"""The durable write: whole or not at all, at whatever step a kill or a failing disk strikes."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from headwater_wire import durable

OLD, NEW = b"old" * 1000, b"new" * 2000
# The fsyncs and renames of one call, in order: each is a place to die at.
CALLS = {"write": ("fsync", "rename", "fsync"), "adopt": ("fsync", "rename", "fsync"), "symlink": ("rename", "fsync")}
REAL = {"fsync": "fsync", "rename": "/^rename"}  # renameat on some machines
PROGRAM = {
    "write": "durable.write(folder / 'target', NEW)",
    "adopt": "durable.adopt(folder / 'source', folder / 'target')",
    "symlink": "durable.replace_symlink(folder / 'link', 'new')",
}


@pytest.fixture
def strace() -> str:
    """The tool that makes system calls fail; a system package."""
    found = shutil.which("strace")
    if found is None:
        reason = "strace is not installed (a system package): no fault can be placed at a system call"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def prepare(folder: Path) -> None:
    """Lay out what the program replaces."""
    (folder / "target").write_bytes(OLD)
    (folder / "source").write_bytes(NEW)
    (folder / "link").symlink_to("old")


def run(strace: str, folder: Path, act: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one call of durable's in a process of its own, under strace."""
    code = f"from pathlib import Path\nfrom headwater_wire import durable\nfolder = Path({str(folder)!r})\n"
    code += f"NEW = b'new' * 2000\n{act}\n"
    return subprocess.run(
        [strace, "-qq", *options, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # the interpreter renames, too, when it writes bytecode
    )


def inject(strace: str, folder: Path, act: str, fault: str) -> subprocess.CompletedProcess[str]:
    """Run one call under a fault."""
    return run(strace, folder, act, "-o", os.devnull, "-e", f"inject={fault}")


def fault_at(program: str, place: int, what: str) -> str:
    """Say to strace: at the call in that place, do this."""
    calls = CALLS[program]
    return f"{REAL[calls[place]]}:{what}:when={calls[: place + 1].count(calls[place])}"


def content(folder: Path, program: str) -> str:
    """Say whether the old or the new content is there: whole, or it is neither."""
    if program == "symlink":
        return str((folder / "link").readlink())
    return {OLD: "old", NEW: "new"}[(folder / "target").read_bytes()]


EVERY_PLACE = [(program, place) for program, calls in CALLS.items() for place in range(len(calls))]


@pytest.mark.strace
@pytest.mark.parametrize(("program", "place"), EVERY_PLACE)
def test_a_kill_at_any_step_leaves_the_old_or_the_new(strace: str, tmp_path: Path, program: str, place: int) -> None:
    """Killed at an fsync or rename, the target is whole: old before the rename, new after it; a sweep tidies up."""
    prepare(tmp_path)
    done = inject(strace, tmp_path, PROGRAM[program], fault_at(program, place, "signal=KILL"))
    assert done.returncode == -9, done.stderr
    rename = CALLS[program].index("rename")
    # A rename that a kill interrupts may have happened.
    assert (
        content(tmp_path, program) in {-1: {"old"}, 0: {"old", "new"}, 1: {"new"}}[(place > rename) - (place < rename)]
    )
    durable.sweep_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"target", "source", "link"}


@pytest.mark.strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize(("program", "place"), EVERY_PLACE)
def test_a_failing_disk_is_told_and_leaves_no_debris(
    strace: str, tmp_path: Path, program: str, place: int, error: str
) -> None:
    """The error is raised; no temporary file stays; before the rename the old content stands, after it the new."""
    prepare(tmp_path)
    done = inject(strace, tmp_path, PROGRAM[program], fault_at(program, place, f"error={error}"))
    assert done.returncode == 1
    assert f"[Errno {getattr(errno, error)}]" in done.stderr
    renamed = place > CALLS[program].index("rename")
    assert content(tmp_path, program) == ("new" if renamed else "old")
    left = {"target", "link"} if program == "adopt" and renamed else {"target", "link", "source"}
    assert {path.name for path in tmp_path.iterdir()} == left


@pytest.mark.strace
def test_a_full_disk_in_the_middle_of_the_data_leaves_no_debris(strace: str, tmp_path: Path) -> None:
    """ENOSPC from write itself: the old content stands."""
    prepare(tmp_path)
    done = inject(strace, tmp_path, PROGRAM["write"], "write:error=ENOSPC:when=1")
    assert done.returncode == 1
    assert {path.name for path in tmp_path.iterdir()} == {"target", "source", "link"}
    assert (tmp_path / "target").read_bytes() == OLD


def system_calls(strace: str, folder: Path, act: str) -> list[str]:
    """Record the order in which a call makes, syncs and renames."""
    log = folder / "log"
    done = run(strace, folder, act, "-y", "-o", log, "-e", "trace=fsync,/^rename,/^mkdir")
    assert done.returncode == 0, done.stderr
    lines = log.read_text().replace(f"{folder}/", "").replace(str(folder), ".").splitlines()
    return [line.partition(" = ")[0].rstrip() for line in lines]


@pytest.mark.strace
def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(strace: str, tmp_path: Path) -> None:
    """Any other order can lose the content, or the name, to a power cut."""
    calls = system_calls(strace, tmp_path, "durable.write(folder / 'target', NEW)")
    assert [call.partition("(")[0] for call in calls] == ["fsync", "rename", "fsync"]
    assert ".hw-tmp-" in calls[0] and calls[2].endswith("<.>)")


@pytest.mark.strace
def test_the_parents_of_new_folders_are_synced(strace: str, tmp_path: Path) -> None:
    """Each new folder is made to last before the next is made in it."""
    calls = system_calls(strace, tmp_path, "durable.make_dirs(folder / 'a' / 'b')")
    assert [call.partition("(")[0] for call in calls] == ["fsync", "mkdir", "fsync", "mkdir", "fsync"]
    assert '"a"' in calls[1] and calls[2].endswith("<.>)")
    assert '"a/b"' in calls[3] and calls[4].endswith("<a>)")


@pytest.mark.parametrize("data", [b"", b"x", bytearray(b"yy"), memoryview(b"zzz")])
def test_what_was_written_is_there(tmp_path: Path, data: bytes | bytearray | memoryview) -> None:
    """Over nothing and over an older file, and nothing else is left."""
    for _ in range(2):
        durable.write(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == bytes(data)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_symlink_is_no_file_to_adopt(tmp_path: Path) -> None:
    """Its target may be anything."""
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(OSError):
        durable.adopt(tmp_path / "link", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_making_folders_is_idempotent_and_keeps_a_file_in_the_way(tmp_path: Path) -> None:
    """Twice is once; a file is not replaced by a folder."""
    for _ in range(2):
        durable.make_dirs(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        durable.make_dirs(tmp_path / "file" / "below")


def test_private_folders_are_for_their_user_alone(tmp_path: Path) -> None:
    """Each one that is made; those that were there keep their modes."""
    tmp_path.chmod(0o755)
    durable.make_dirs(tmp_path / "a" / "b", private=True)
    modes = [(tmp_path / place).stat().st_mode & 0o777 for place in (".", "a", "a/b")]
    assert modes == [0o755, 0o700, 0o700]


def test_a_symlink_is_replaced(tmp_path: Path) -> None:
    """From nothing, from another target, and over a dangling one."""
    for target in ("one", "two", "two"):
        durable.replace_symlink(tmp_path / "current", target)
        assert (tmp_path / "current").readlink() == Path(target)


@pytest.mark.parametrize("durably", [True, False])
def test_removing_is_idempotent(tmp_path: Path, durably: bool) -> None:
    """What is not there is not missed."""
    (tmp_path / "file").touch()
    for _ in range(2):
        durable.remove(tmp_path / "file", durably=durably)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_takes_only_the_debris_of_writes(tmp_path: Path) -> None:
    """Named as a write names its temporaries: half a file, or a symlink that leads nowhere."""
    (tmp_path / ".hw-tmp-0123456789abcdef").write_bytes(b"half")
    (tmp_path / ".hw-tmp-fedcba9876543210").symlink_to("nowhere")
    for name in ("file", ".hidden", "hw-tmp-x"):
        (tmp_path / name).touch()
    durable.sweep_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"file", ".hidden", "hw-tmp-x"}


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: durable.write(folder / "absent" / "file", b"x"),
        lambda folder: durable.adopt(folder / "absent", folder / "target"),
        lambda folder: durable.replace_symlink(folder / "absent" / "link", "x"),
    ],
)
def test_what_can_not_be_done_raises(tmp_path: Path, act: Callable[[Path], None]) -> None:
    """A missing folder or file is an error, and nothing is made."""
    with pytest.raises(FileNotFoundError):
        act(tmp_path)
    assert list(tmp_path.iterdir()) == []
