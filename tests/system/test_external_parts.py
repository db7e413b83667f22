"""The same runs on PostgreSQL and mosquitto, with mTLS: the other pair of parts that a control plane may stand on."""

import asyncio
from pathlib import Path

import pytest

from tests.support.fleet import Crashes, add_digit_boxes, fleet, import_digits, start_reproducible
from tests.support.outcomes import digests_of, states_of
from tests.support.postgres import fresh_database
from tests.support.secure_mosquitto import secure_mosquitto
from tests.support.waiting import until_now

pytestmark = pytest.mark.long

CONTROL_STEPS = ("control.delta.committed", "control.collecting", "control.merging")


@pytest.mark.mosquitto
async def test_on_postgresql_a_killed_mosquitto_and_control_plane_change_no_bit_of_the_result(tmp_path: Path) -> None:
    """Broker and control plane killed in mid-round: the run completes, to the bits of an undisturbed one."""
    crashes = Crashes(tmp_path / "guards", *CONTROL_STEPS)
    training = Crashes(tmp_path / "guards" / "box-1", "agent.training")
    data = tmp_path / "control-plane"
    async with fresh_database() as database:

        def play() -> None:
            with (
                secure_mosquitto(data, tmp_path / "mosquitto") as broker,
                fleet(
                    tmp_path,
                    arguments=[*broker.arguments, "--database", database],
                    env={**crashes.env, **broker.env},
                ) as made,
            ):
                add_digit_boxes(made, 3, env={"box-1": training.env})
                made.wait_registered()
                base = import_digits(made)
                disturbed = start_reproducible(made, base)
                until_now(lambda: not training.missed, "box-1 dies at training")
                broker.kill()
                broker.start()
                detail = made.finish(disturbed)
                assert crashes.missed == []
                calm = made.finish(start_reproducible(made, base))
                assert [digests_of(made, detail), states_of(detail)] == [digests_of(made, calm), states_of(calm)]
                assert made.parameters(detail.run.version) != made.parameters(base), "nothing was learnt"

        await asyncio.to_thread(play)
