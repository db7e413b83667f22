"""A sample of the fuzzer's inputs, on every run of the suite."""

import random

import pytest
from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.reasons import BadPacket

from tests import fuzz_mqtt
from tests.control_plane.broker.stream import packets_in


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_sample_of_the_fuzzers_inputs_does_no_harm(seed: int) -> None:
    """Only `BadPacket` comes out, and what is accepted is read back equal; the sample meets both in plenty."""
    findings = fuzz_mqtt.Findings()
    fuzz_mqtt.fuzz(1500, seed, findings)
    assert findings.inputs == 1500
    assert findings.accepted > 200
    assert len(findings.refused) >= 4


def test_the_fuzzer_starts_from_valid_packets() -> None:
    """What it mutates is accepted before the mutation, or it would test little."""
    source = fuzz_mqtt.Packets(random.Random(1))
    for _ in range(500):
        packet = source.make()
        try:
            assert packets_in(encode(packet)) == [packet]
        except BadPacket as bad:
            pytest.fail(f"{packet!r}: {bad}")
