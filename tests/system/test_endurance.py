"""Memory and idle processor time of real processes: short here; `make bench ARGS=endurance` has thousands of rounds."""

import time
from pathlib import Path

import pytest

from tests.support import footprint
from tests.support.endurance import Sample, Taken, endure
from tests.support.idle import idle_agent

pytestmark = pytest.mark.long

ROUNDS = 60
SPARE_MB = 2.5  # a delta kept in each of the rounds looked at would be 3.9
BEAT_S = 20
MEMORY_LIMIT_MB = 48
CPU_LIMIT = 0.003  # of a core; promised is a third of it, on a machine that does nothing else


def test_rounds_leave_nothing_behind_in_memory_or_among_open_files(tmp_path: Path) -> None:
    """Each process takes after sixty rounds what it took after twenty."""
    samples = endure(tmp_path, ROUNDS, ROUNDS // 3)

    def each(sample: Sample) -> tuple[Taken, ...]:
        return (sample.control, sample.agent, sample.worker)

    for early, late in zip(each(samples[0]), each(samples[-1]), strict=True):
        assert late.memory_mb < early.memory_mb + SPARE_MB, samples
        assert late.files <= early.files + 3, samples  # of a request that is just answered


def test_an_agent_with_nothing_to_do_does_next_to_nothing(tmp_path: Path) -> None:
    """From one heartbeat to the next it takes a small part of a thousandth of a core, and it is small."""
    with idle_agent(tmp_path) as (control, pid):
        control.until("syncs", 1)
        control.ask(f"pace {BEAT_S}")
        beats = control.until("syncs", 2)["beats"]
        beats = control.until("beats", beats + 1, 3 * BEAT_S)["beats"]
        cpu, began = footprint.cpu_s(pid), time.monotonic()
        control.until("beats", beats + 1, 3 * BEAT_S)
        assert (footprint.cpu_s(pid) - cpu) / (time.monotonic() - began) < CPU_LIMIT
        assert footprint.memory(pid)[0] < MEMORY_LIMIT_MB
