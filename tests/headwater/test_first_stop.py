"""Whoever asks the demo to stop is heard, once."""

import signal

import pytest
from headwater.cli.demo import FirstStop


def test_an_impatient_second_signal_does_not_interrupt_the_clean_up() -> None:
    """The first one counts; from when the clean-up begins none does."""
    now = [100.0]
    stop = FirstStop(lambda: now[0])
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)
    stop(signal.SIGINT, None)
    stop.ignore()
    now[0] += 60
    stop(signal.SIGHUP, None)


def test_a_first_signal_that_was_lost_is_no_reason_to_be_deaf() -> None:
    """What is raised in a finalizer is ignored by Python: if nothing has begun to end, the next signal counts."""
    now = [100.0]
    stop = FirstStop(lambda: now[0])
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)
    now[0] += 3
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)
