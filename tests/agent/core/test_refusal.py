"""A box that takes no task at all."""

from dataclasses import replace

from headwater_agent.core.eligibility import objection
from headwater_agent.core.session import Box, DatasetFact, Session

from tests.fakes.agent_bundle import DATASET, DEVICE, task

BOX = Box(DEVICE, (DatasetFact(DATASET),))


def test_every_task_is_refused_with_the_reason() -> None:
    """Also one whose dataset is not there; without a refusal the same task is taken."""
    refusing = Session(replace(BOX, refusal="the kernel has no seccomp"))
    assert objection(refusing, task(), now_ms=1) == "the kernel has no seccomp"
    assert objection(refusing, task(dataset="other"), now_ms=1) == "the kernel has no seccomp"
    assert objection(Session(BOX), task(), now_ms=1) == ""
