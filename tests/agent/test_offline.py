"""A box whose control plane and broker are gone: what it has accepted is finished, kept across reboots, told later."""

import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from headwater_wire.codecs import write_delta

from tests.fakes.agent_bundle import offered
from tests.fakes.agent_gateway import ScriptedGateway, serving
from tests.fakes.agent_home import AgentProcess, Home, until

pytestmark = pytest.mark.long

ELEMENTS = 300_000
SHORT = {"HEADWATER_CONTROL_PLANE__PATIENCE_S": "2"}


async def test_a_task_is_finished_offline_and_uploaded_when_the_link_is_back(tmp_path: Path) -> None:
    """Killed in training, it trains on with nobody there; killed again, it still has the delta, and tells it once."""
    gateway = ScriptedGateway()
    task = offered(gateway, tmp_path, elements=ELEMENTS)
    gateway.open(task)
    with socket.socket() as nobody:  # bound, and never listened on: it refuses
        nobody.bind(("127.0.0.1", 0))
        spool = tmp_path / "state" / "spool"
        async with serving(gateway) as port:
            file = Home(tmp_path, nobody.getsockname()[1], port).write()
            async with AgentProcess(file, {**SHORT, "HEADWATER_CRASH_AT": "agent.training"}) as agent:
                assert await agent.ended() == -signal.SIGKILL, agent.log
        async with AgentProcess(file, SHORT) as agent:
            await until(lambda: any(spool.glob("*.delta")), "it trains offline, and spools")
            await until(lambda: f"upload of task {task.id}: UNAVAILABLE" in agent.log, "it tries to tell")
            agent.send(signal.SIGKILL)
            await agent.ended()
        (spool / "task-of-nobody.delta").write_bytes(b"half")
        (spool / f".{task.id}.delta.tmp").write_bytes(b"half-written")
        (spool / "lost+found").mkdir()
        async with AgentProcess(file, SHORT) as agent:
            await until(lambda: f"upload of task {task.id}: UNAVAILABLE" in agent.log, "it still has it")
            assert sorted(path.name for path in spool.iterdir()) == ["lost+found", f"{task.id}.delta"]
            assert "deleted task-of-nobody.delta" in agent.log and "deleted lost+found" not in agent.log
            async with serving(gateway, port):
                await until(lambda: task.id in gateway.deltas, "the delta", within_s=60)
                await until(lambda: not any(spool.glob("*.delta")), "the end of it")
    expected = tmp_path / "expected"
    write_delta(expected, np.full(ELEMENTS, 2 * 4 * 0.5, np.float32))
    assert gateway.deltas[task.id] == expected.read_bytes()
    assert gateway.calls["receipt"] == 1
