"""A sample of the fuzzer's inputs, on every run of the suite; `make fuzz` tries a million."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from headwater_control.edges.broker.encoding import encode

from tests.control_plane.broker.stream import packets_in
from tests.fuzzing.api import Api
from tests.fuzzing.packets import Packets
from tests.fuzzing.running import KINDS, Broken, checked, run


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is refused is logged, and would be in the report of a test that fails over something else."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_of_the_fuzzers_inputs_does_no_harm(name: str) -> None:
    """No promise is broken, and the sample meets both what is accepted and what is refused."""
    outcome = run(name, 3 * KINDS[name].share, seed=11)
    assert outcome.inputs == sum(outcome.became.values())
    assert min(outcome.became.values()) < outcome.inputs * 0.5
    assert len(outcome.became) >= 2


def test_the_api_is_as_it_is_described(tmp_path: Path) -> None:
    """Whatever is asked, there is no 5xx, and each answer has the status, the headers and the form of its schema."""
    with Api(tmp_path) as api:
        api.fuzz(2, 11)
    assert {"200", "401", "404", "422"} <= api.answers.keys()


def test_the_fuzzer_starts_from_valid_packets() -> None:
    """What it mutates is accepted before the mutation, or it would test little."""
    source = Packets(random.Random(1))
    for _ in range(500):
        packet = source.make()
        assert packets_in(encode(packet)) == [packet]


def test_an_input_that_breaks_a_promise_is_told_so_that_it_can_be_tried_again() -> None:
    """The message says which input, what went wrong, and the input itself."""

    class Careless:
        def make(self, source: random.Random) -> bytes:
            return source.randbytes(3)

        def check(self, data: bytes) -> str:
            return f"{data[9]}"

    with pytest.raises(Broken, match=r"files, input 7: IndexError\(.*\n010203\n.*--replay"):
        checked("files", Careless(), b"\1\2\3", "input 7")
