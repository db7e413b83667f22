"""What the worker gives up, tried in real processes: the kernel itself must say no."""

import errno
import os
import socket
import struct
from pathlib import Path

import pytest
from headwater_agent.training import confinement, kernel, landlock, seccomp
from headwater_agent.training.system_calls import PROCESSORS

from tests.agent.training.confined import LANDLOCK_ALONE, attempt, run

pytestmark = pytest.mark.skipif(bool(confinement.lacking()), reason="this kernel can't confine all that is tried here")


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A folder that may be read, with a file."""
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "data").write_text("data")
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The folder that may be written to."""
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that nobody named."""
    path = tmp_path / "outside"
    path.write_text("secret")
    return path


DEEDS = {
    "read its own input": ('Path(readable, "data").read_bytes(); os.listdir(readable)', "done"),
    "write its own output": ('p = Path(output, "a"); p.write_text("1"); p.rename(Path(output, "b")).unlink()', "done"),
    "make a folder there": (
        'p = Path(output, "f"); p.mkdir(); (p / "x").touch(); (p / "x").unlink(); p.rmdir()',
        "done",
    ),
    "start threads": ("import threading; t = threading.Thread(target=print); t.start(); t.join()", "done"),
    "limit itself further": ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))", "done"),
    "write its own input": ('Path(readable, "data").write_text("x")', "PermissionError"),
    "truncate its own input": ('os.truncate(Path(readable, "data"), 0)', "PermissionError"),
    "delete its own input": ('Path(readable, "data").unlink()', "PermissionError"),
    "add to its inputs": ('Path(readable, "more").touch()', "PermissionError"),
    "read another file": ("Path(readable).parent.joinpath('outside').read_text()", "PermissionError"),
    "write another file": ("Path(readable).parent.joinpath('outside').write_text('x')", "PermissionError"),
    "list another folder": ("os.listdir(Path(readable).parent)", "PermissionError"),
    "reach out by a link": (
        "p = Path(output, 'l'); os.symlink('../outside', p)",
        "PermissionError",
    ),
    "take another file over": (
        "Path(readable).parent.joinpath('outside').rename(Path(output, 'a'))",
        "PermissionError",
    ),
    "change a mode": ('os.chmod(Path(readable, "data"), 0o777)', "PermissionError"),
    "change a time": ('os.utime(Path(readable, "data"), (0, 0))', "PermissionError"),
    "open a socket": ("import socket; socket.socket()", "PermissionError"),
    "open a local socket": ("import socket; socket.socket(socket.AF_UNIX)", "PermissionError"),
    "pair sockets": ("import socket; socket.socketpair()", "PermissionError"),
    "run a program": ("os.execv(sys.executable, [sys.executable, '-c', ''])", "PermissionError"),
    "fork": ("os.fork()", "PermissionError"),
    "spawn": ("os.posix_spawn(sys.executable, [sys.executable, '-c', ''], {})", "PermissionError"),
    "signal its parent": ("os.kill(os.getppid(), 0)", "PermissionError"),
    "limit its parent": ("import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU)", "PermissionError"),
    "choose its own processors": ("os.sched_setaffinity(0, os.sched_getaffinity(0))", "done"),
    "choose its parent's processors": ("os.sched_setaffinity(os.getppid(), {0})", "PermissionError"),
    "dump core": ("import resource; assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)", "done"),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_confined_process_does_its_work_and_nothing_else(
    deed: str, inside: Path, output: Path, outside: Path
) -> None:
    """What it needs works; all else is refused, and nothing has changed."""
    code, wanted = DEEDS[deed]
    assert attempt(code, inside, output) == wanted
    assert (outside.read_text(), (inside / "data").read_text()) == ("secret", "data")
    assert sorted(path.name for path in inside.iterdir()) == ["data"]


@pytest.mark.parametrize("call", ["io_uring_setup", "ptrace", "unshare", "mount", "bpf", "keyctl", "userfaultfd"])
def test_a_system_call_by_number_is_refused_too(call: str, inside: Path, output: Path) -> None:
    """No library stands between: the kernel answers EPERM, whatever the arguments are."""
    code = (
        "from headwater_agent.training import kernel\n"
        f"kernel.call({PROCESSORS[kernel.machine()].denied[call]}, [0, 0, 0])"
    )
    assert attempt(code, inside, output) == "PermissionError"


def test_a_system_call_that_nobody_knew_is_answered_as_by_an_older_kernel(inside: Path, output: Path) -> None:
    """ENOSYS: libraries then do without."""
    code = "from headwater_agent.training import kernel\nkernel.call(5000, [])"
    assert attempt(code, inside, output) == "OSError"


@pytest.mark.parametrize(
    ("deed", "wanted"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9), 5)", "PermissionError"),
        ("import socket; socket.socket().bind(('127.0.0.1', 0))", "PermissionError"),
        ("import socket; socket.socket().close()", "done"),
        ("os.kill(os.getppid(), 0)", "PermissionError"),
        ("os.kill(os.getpid(), 0)", "done"),
        ('os.truncate(Path(readable, "data"), 0)', "PermissionError"),
        ("import subprocess; subprocess.run([sys.executable, '-c', ''])", "PermissionError"),
        ('p = Path(output, "f"); p.mkdir(); Path(output, "a").touch(); Path(output, "a").rename(p / "a")', "OSError"),
    ],
)
def test_landlock_alone_refuses_much_of_it(deed: str, wanted: str, inside: Path, output: Path) -> None:
    """Two walls: where the filter should have a hole, there are still no TCP, no signals, no programs, no moves."""
    assert attempt(deed, inside, output, confine=LANDLOCK_ALONE) == wanted


@pytest.mark.usefixtures("outside")
def test_a_thread_that_starts_later_is_confined_too(inside: Path, output: Path) -> None:
    """ONNX Runtime starts its own when it opens a graph."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor\nimport socket\n"
        "with ThreadPoolExecutor(1) as pool: pool.submit(socket.socket).result()"
    )
    assert attempt(code, inside, output) == "PermissionError"
    code = code.replace("socket.socket)", 'Path(readable).parent.joinpath("outside").read_text)')
    assert attempt(code, inside, output) == "PermissionError"


def test_a_connection_that_was_open_before_cannot_be_used_to_pass_descriptors(inside: Path, output: Path) -> None:
    """Reading and writing what was handed over works; sending a descriptor along does not."""
    before = "import socket\nours, theirs = socket.socketpair()"
    assert (
        attempt("os.write(ours.fileno(), b'x'); os.read(theirs.fileno(), 1)", inside, output, before=before) == "done"
    )
    code = "socket.send_fds(ours, [b'x'], [0])"
    assert attempt(code, inside, output, before=before) == "PermissionError"


def test_limits_are_kept(inside: Path, output: Path) -> None:
    """A file grows no larger than it may, and the process neither."""
    assert attempt('Path(output, "a").write_bytes(bytes(2000))', inside, output, "output_bytes=1000") == "OSError"
    assert attempt("bytearray(400 << 20)", inside, output, f"memory_bytes={200 << 20}") == "MemoryError"
    assert attempt("bytearray(400 << 20)", inside, output) == "done"


def test_mapped_data_counts_as_no_memory(inside: Path, output: Path) -> None:
    """A dataset larger than the limit can be trained on: it is mapped, not copied."""
    with (inside / "large").open("wb") as file:
        file.truncate(1 << 30)
    code = (
        "import mmap\nwith open(readable + '/large', 'rb') as f: mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)[-1]"
    )
    assert attempt(code, inside, output, f"memory_bytes={200 << 20}") == "done"


def test_whoever_is_not_alone_is_not_confined_by_halves(inside: Path, output: Path) -> None:
    """A thread that runs already would stay free: that is a mistake of ours, and ends the process."""
    script = (
        "import threading, sys\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "from headwater_agent.training.confinement import Grounds, confine\nconfine(Grounds())"
    )
    done = run(script)
    assert done.returncode == 1 and "NotAlone: 2 threads run already" in done.stderr


def test_an_output_folder_that_is_not_there_is_an_error(inside: Path, tmp_path: Path) -> None:
    """What must be written to can't be left out; what must be read can, since reading it will tell."""
    script = (
        "from pathlib import Path\nfrom headwater_agent.training.confinement import Grounds, confine\n"
        f"print(confine(Grounds((Path('/nowhere'),), (Path({str(tmp_path / 'nowhere')!r}),))))"
    )
    done = run(script)
    assert done.returncode == 1 and "FileNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        (0, ("landlock", "landlock-truncate", "landlock-network", "landlock-devices", "landlock-scopes")),
        (1, ("landlock-truncate", "landlock-network", "landlock-devices", "landlock-scopes")),
        (3, ("landlock-network", "landlock-devices", "landlock-scopes")),
        (4, ("landlock-devices", "landlock-scopes")),
        (6, ()),
        (9, ()),
    ],
)
def test_what_an_older_kernel_lacks_is_named(version: int, missing: tuple[str, ...]) -> None:
    """By the ABI that it tells."""
    assert landlock.lacking(version) == missing


def test_a_mode_decides_what_a_lack_means() -> None:
    """Whoever wants none does without all; here nothing is lacking, so that nothing is objected to."""
    assert confinement.unconfined("off") == confinement.PARTS == (*landlock.PARTS, "seccomp")
    assert confinement.unconfined("preferred") == confinement.unconfined("required") == ()
    assert [confinement.objection(mode) for mode in confinement.MODES] == ["", "", ""]


def judged(machine: str, number: int, first: int = 0, audit: int | None = None) -> int:
    """Run a machine's filter, as bpf(4) defines it, for process 77; give the action."""
    code = seccomp.assemble(PROCESSORS[machine], 77)
    data = {0: number, 4: PROCESSORS[machine].audit if audit is None else audit, 16: first}
    program, at, value = list(struct.iter_unpack("=HBBI", code)), 0, 0
    assert len(program) <= 4096, "BPF_MAXINSNS"
    while True:
        operation, yes, no, k = program[at]
        at += 1
        match operation:
            case 0x20:
                value = data[k]
            case 0x06:
                return int(k)
            case 0x15:
                at += yes if value == k else no
            case 0x25:
                at += yes if value > k else no
            case 0x35:
                at += yes if value >= k else no
            case 0x45:
                at += yes if value & k else no
            case _:
                raise AssertionError(f"operation {operation:#x} at {at}")


ALLOWED, REFUSED, UNKNOWN, KILLED = 0x7FFF0000, 0x00050000 + errno.EPERM, 0x00050000 + errno.ENOSYS, 0x80000000
THREAD = 0x00010000  # CLONE_THREAD
COMMON = {"x86_64": (0, 1, 202), "aarch64": (63, 64, 98)}  # read, write, futex


@pytest.mark.parametrize("machine", PROCESSORS)
def test_a_filter_says_the_same_on_each_processor(machine: str) -> None:
    """Denied calls, threads but no processes, signals to itself alone, no later calls, no other architecture."""
    processor = PROCESSORS[machine]
    assert {judged(machine, number) for number in processor.denied.values()} == {REFUSED}
    assert {judged(machine, number) for number in COMMON[machine]} == {ALLOWED}
    assert (judged(machine, processor.clone, THREAD | 0xF00), judged(machine, processor.clone, 17)) == (
        ALLOWED,
        REFUSED,
    )
    assert judged(machine, processor.clone3) == judged(machine, 463) == UNKNOWN
    for number in processor.signals:
        assert [judged(machine, number, pid) for pid in (77, 0, 1, 78)] == [ALLOWED, REFUSED, REFUSED, REFUSED]
    for number in processor.own:
        assert [judged(machine, number, pid) for pid in (77, 0, 1)] == [ALLOWED, ALLOWED, REFUSED]
    other = PROCESSORS["aarch64" if machine == "x86_64" else "x86_64"].audit
    assert {judged(machine, number, audit=other) for number in range(500)} == {KILLED}


def test_the_x32_calls_of_a_pc_are_another_architecture() -> None:
    """They reach the same kernel functions under other numbers."""
    assert judged("x86_64", 0x40000000 | 41) == judged("x86_64", 0xFFFFFFFF) == KILLED


def test_the_network_is_there_before(inside: Path, output: Path) -> None:
    """What is refused above would work without: this machine has sockets."""
    with socket.socket() as made:
        assert made.fileno() >= 0
    assert os.access(inside / "data", os.W_OK)
