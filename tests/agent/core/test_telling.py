"""What a session tells others: here, which blobs are still needed."""

from dataclasses import replace

from headwater_agent.core import events as on
from headwater_agent.core.machine import step
from headwater_agent.core.session import Session
from headwater_agent.core.telling import needed

from tests.fakes.agent_world import BOX, deployment


def test_an_install_that_has_ended_needs_nothing_but_its_twin_does() -> None:
    """Before the machine has heard of the end; another model's install may well want the same bytes."""
    session = Session(BOX)
    ended, other = deployment(1), deployment(1, "other")
    twin = replace(deployment(1, "twin"), reference=ended.reference)
    for revision, wanted in enumerate((ended, other), 1):
        session, _ = step(session, on.DeploymentWanted(revision, wanted), at_s=0.0)
    assert needed(session) == {ended.onnx.digest, other.onnx.digest}
    assert needed(session, ended) == {other.onnx.digest}
    session, _ = step(session, on.DeploymentWanted(3, twin), at_s=0.0)
    assert needed(session, ended) >= {ended.reference.digest}
