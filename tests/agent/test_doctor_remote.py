"""The doctor's checks over the network, against real gates with TLS."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headwater_agent.config import load
from headwater_agent.core.findings import Finding, Health
from headwater_agent.diagnosis import Patient, remote
from headwater_agent.edges.certificates import read_chain, request
from headwater_agent.edges.identity import Vault, identify
from headwater_agent.enrol import enrol
from headwater_control.edges.ca import embedded
from headwater_control.service import standing
from headwater_wire.ids import DeviceId

from tests.fakes.clock import FakeClock
from tests.fakes.secure_gates import Gates, secure_gates

BOX = DeviceId("box-1")


@pytest.fixture
async def gates(tmp_path: Path) -> AsyncIterator[Gates]:
    """Serve a control plane."""
    async with secure_gates(tmp_path / "control") as served:
        yield served


async def enrolled(gates: Gates, folder: Path) -> tuple[Patient, Vault]:
    """Enrol a box, and look at it."""
    (folder / "agent.toml").write_text('[agent]\nid = "box-1"\nstate_dir = "state"\n')
    config = load(folder / "agent.toml", {})
    await enrol(config, await gates.token(), again=False)
    return await Patient.of(config), Vault(folder / "state" / "identity")


async def looked(patient: Patient) -> dict[str, Finding]:
    """Look at all of it."""
    looks = (remote.clock, remote.dns, remote.enrolment, remote.broker, remote.gateway)
    return {found.name: found for found in [await look(patient) for look in looks]}


async def test_a_box_that_is_let_in_everywhere_is_fine(gates: Gates, tmp_path: Path) -> None:
    """And a device that was disabled is told who can help."""
    patient, _ = await enrolled(gates, tmp_path)
    found = await looked(patient)
    assert {one.health for one in found.values()} == {Health.OK}, found
    assert "days left" in found["gateway"].found and "days left" in found["broker"].found
    await standing.disable(gates.world, BOX, "lost")
    gateway = await remote.gateway(patient)
    assert gateway.health is Health.FAILED and "shut out" in gateway.found and "headwater device" in gateway.advice


async def test_a_box_with_an_old_certificate_is_not_let_in(gates: Gates, tmp_path: Path) -> None:
    """By the broker and the gateway; where it is renewed it is."""
    patient, vault = await enrolled(gates, tmp_path)
    identity = vault.load()
    aged = gates.authority.device(BOX, request(identity.key), datetime.now(UTC) - timedelta(days=100))
    vault.keep(identify(identity.key, read_chain(aged.chain), identity.control_plane))
    found = await looked(await Patient.of(patient.config))
    assert (found["broker"].health, found["gateway"].health) == (Health.FAILED, Health.FAILED)
    assert found["enrolment"].health is Health.OK


async def test_servers_that_the_root_does_not_vouch_for_are_not_believed(gates: Gates, tmp_path: Path) -> None:
    """Somebody may stand between: each port says so, and the clock stays unknown."""
    patient, vault = await enrolled(gates, tmp_path)
    stranger = embedded(tmp_path / "stranger", datetime.now(UTC)).root_pem.decode()
    identity = vault.load()
    vault.keep(replace(identity, control_plane=replace(identity.control_plane, root=stranger)))
    found = await looked(await Patient.of(patient.config))
    assert "is not believed" in found["broker"].found and "is not believed" in found["gateway"].found
    assert found["enrolment"].health is Health.WARNING and found["clock"].health is Health.UNKNOWN


async def test_a_clock_that_is_wrong_is_measured(tmp_path: Path) -> None:
    """Against the time that the enrolment port tells."""
    behind = FakeClock(datetime.now(UTC) - timedelta(hours=3))
    async with secure_gates(tmp_path / "control", issuing=behind) as gates:
        found = await remote.clock((await enrolled(gates, tmp_path))[0])
    assert found.health is Health.WARNING and "3 h ahead of the control plane's" in found.found
