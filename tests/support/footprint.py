"""What a running process takes: memory, processor time, open files. From /proc, so Linux only."""

from pathlib import Path

_EVERYWHERE = ("/libc.so", "/libm.so", "/ld-linux", "/locale/")  # what every process of any machine has


def memory(pid: int | str) -> tuple[float, float]:
    """Read (PSS as if no other Python ran, PSS as it is now) in MB of 2^20 bytes.

    Pages of libraries that others map too count for a part in PSS: a busy machine flatters. So every mapping counts in
    full here, but those of the C library.
    """
    alone = now = 0
    shared = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, rest = line.partition(":")
        if "-" in key and " " in key:
            shared = any(name in line for name in _EVERYWHERE)
        elif key == "Pss":
            now += int(rest.split()[0])
            alone += int(rest.split()[0]) if shared else 0
        elif key == "Rss" and not shared:
            alone += int(rest.split()[0])
    return alone / 1024, now / 1024


def cpu_s(pid: int) -> float:
    """Read the seconds of processor time that all living threads of a process have had, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def open_files(pid: int) -> int:
    """Count the file descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
