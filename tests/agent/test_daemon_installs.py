"""Installs by the whole agent as a process."""

import functools
import signal
from pathlib import Path

import numpy as np
import pytest
from headwater_wire.ids import ModelName, RolloutId, VersionId
from headwater_wire.messages import Deployment
from headwater_wire.tensors import write_tensors

from tests.fakes.agent_bundle import DEVICE, model_that_adds
from tests.fakes.agent_home import AgentProcess, restarted, until
from tests.fakes.agent_surroundings import World


def released(world: World, number: int, *, wrong: float = 0.0) -> Deployment:
    """Compose a version: y = x + number, and what it should compute."""
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    reference = world.home.folder / "reference.safetensors"
    write_tensors(reference, {"input.x": x, "output.y": x + np.float32(number + wrong)})
    return Deployment(
        DEVICE,
        RolloutId(f"rollout-{number}"),
        ModelName("m"),
        VersionId(f"m-{number}"),
        number,
        world.gateway.put(adder(number)),
        world.gateway.put(reference.read_bytes()),
        1e-4,
    )


async def test_a_version_is_installed_and_the_one_before_kept(world: World) -> None:
    """The application reads current/model.onnx; a version that computes something else never gets there."""
    current = world.home.state / "models" / "m" / "current" / "model.onnx"
    async with AgentProcess(world.file):
        await until(lambda: world.gateway.requests, "the first Sync")
        for number in (1, 2):
            wanted = released(world, number)
            world.gateway.deploy(wanted)
            await world.ear.deploy(world.gateway.revision, wanted)
            await until(lambda n=number: len(world.gateway.deployment_reports) == n, "the report")  # type: ignore[misc]
            assert content(current) == adder(number)
        wanted = released(world, 3, wrong=0.5)
        world.gateway.deploy(wanted)
        await world.ear.deploy(world.gateway.revision, wanted)
        await until(lambda: len(world.gateway.deployment_reports) == 3, "the report")
    assert [r.installed for r in world.gateway.deployment_reports] == [True, True, False]
    assert "y" in world.gateway.deployment_reports[2].problem
    assert content(current) == adder(2)
    assert content(current.parent.parent / "previous" / "model.onnx") == adder(1)


@pytest.mark.parametrize("step", ["agent.install.fetched", "agent.install.linked"])
async def test_a_kill_at_any_step_of_an_install_costs_nothing(world: World, step: str) -> None:
    """After the restart it is finished, and reported."""
    world.gateway.deploy(released(world, 1))
    async with restarted(world.file, HEADWATER_CRASH_AT=step):
        await until(lambda: world.gateway.deployment_reports, "the report")
    assert world.gateway.deployment_reports[0].installed
    assert content(world.home.state / "models" / "m" / "current" / "model.onnx") == adder(1)


async def test_a_version_whose_check_ends_the_agent_is_given_up_after_three_lives(world: World) -> None:
    """A box that its check takes down is not taken down at each start for ever."""
    world.gateway.deploy(released(world, 1))
    for _ in range(3):
        async with AgentProcess(world.file, {"HEADWATER_CRASH_AT": "agent.install.fetched"}) as agent:
            assert await agent.ended() == -signal.SIGKILL, agent.log
    async with AgentProcess(world.file, {"HEADWATER_CRASH_AT": "agent.install.fetched"}):
        await until(lambda: world.gateway.deployment_reports, "the report")
    assert "the agent died 3 times" in world.gateway.deployment_reports[0].problem
    assert not (world.home.state / "models" / "m" / "current").exists()


@functools.cache
def adder(number: int) -> bytes:
    """Make an ONNX model that adds a number."""
    return model_that_adds(number)


def content(path: Path) -> bytes:
    """Read a file."""
    return path.read_bytes()
