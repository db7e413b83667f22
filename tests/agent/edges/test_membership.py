"""A box's place in the fleet while it runs: certificates renewed by themselves, keys pinned, against real gates."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import pytest
from cryptography import x509
from headwater_agent.config import Config, load
from headwater_agent.edges.certificates import request
from headwater_agent.edges.identity import Identity, NotEnrolled, Vault, identify
from headwater_agent.edges.membership import Member, Outsider, membership
from headwater_agent.edges.uplink import GrpcUplink, open_uplink
from headwater_agent.enrol import enrol
from headwater_agent.ports import Unavailable
from headwater_control.edges.keyring import Keyring
from headwater_control.service import keys, standing
from headwater_wire import signing
from headwater_wire.ids import DeviceId
from headwater_wire.messages import SyncRequest

from tests.fakes.clock import FakeClock
from tests.fakes.secure_gates import Gates, secure_gates
from tests.fakes.world import Box
from tests.support.waiting import until

BOX = DeviceId("box-1")
CONFIG = '[agent]\nid = "box-1"\nstate_dir = "state"\n'


@pytest.fixture
async def gates(tmp_path: Path) -> AsyncIterator[Gates]:
    """Serve a control plane."""
    async with secure_gates(tmp_path / "control") as served:
        yield served


def config(folder: Path, text: str = CONFIG, env: Mapping[str, str] | None = None) -> Config:
    """Configure a box."""
    (folder / "agent.toml").write_text(text)
    return load(folder / "agent.toml", env or {})


async def enrolled(gates: Gates, folder: Path, days_ago: float = 0) -> tuple[Config, Vault]:
    """Enrol a box, and give it a certificate of that age."""
    configured = config(folder)
    identity = await enrol(configured, await gates.token(), again=False)
    vault = Vault(folder / "state" / "identity")
    if days_ago:
        aged = gates.authority.device(BOX, request(identity.key), datetime.now(UTC) - timedelta(days=days_ago))
        vault.keep(identify(identity.key, x509.load_pem_x509_certificates(aged.chain), identity.control_plane))
    return configured, vault


@asynccontextmanager
async def uplink_of(member: Member, patience_s: float = 10.0) -> AsyncIterator[GrpcUplink]:
    """Connect as the daemon does."""
    async with open_uplink(
        member.gateway, BOX, member.trust, member.grpc_credentials, forged=member.look_again, patience_s=patience_s
    ) as uplink:
        yield uplink


@asynccontextmanager
async def keeping(member: Member, uplink: GrpcUplink) -> AsyncIterator[list[None]]:
    """Keep the membership; count the renewals."""
    renewals: list[None] = []

    async def renewed() -> None:
        await uplink.reconnect()
        renewals.append(None)

    task = asyncio.create_task(member.keep(renewed))
    try:
        yield renewals
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()


def asking() -> SyncRequest:
    """Ask what to hold."""
    return SyncRequest(BOX, 1, 0, "", (), (), ())


async def connects(member: Member) -> bool:
    """Try to connect to the broker."""
    client = aiomqtt.Client(
        member.broker.host,
        member.broker.port,
        identifier=BOX,
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=member.mqtt_tls(),
        timeout=2.0,  # TLS 1.3 lets a client believe that it is in until it hears nothing
    )
    try:
        async with asyncio.timeout(20), client:
            return True
    except (aiomqtt.MqttError, ssl.SSLError):
        return False


async def ends(vault: Vault) -> bool:
    """Say whether the certificate on disk is good for about 90 days."""
    return vault.load().ends > datetime.now(UTC) + timedelta(days=89)


@pytest.mark.parametrize("days_ago", [56, 100, 400], ids=["late in its life", "expired", "off for a year"])
async def test_an_old_certificate_is_renewed_by_itself(gates: Gates, tmp_path: Path, days_ago: int) -> None:
    """And from then on the uplink and the next MQTT connection use the new one; key and id stay."""
    configured, vault = await enrolled(gates, tmp_path, days_ago)
    before = vault.load()
    member = membership(configured)
    assert isinstance(member, Member)
    good = before.ends > datetime.now(UTC)
    assert await connects(member) == good
    async with uplink_of(member, patience_s=1.0) as uplink:
        if good:
            await uplink.sync(asking())
        else:
            with pytest.raises(Unavailable):
                await uplink.sync(asking())
    async with uplink_of(member) as uplink, keeping(member, uplink) as renewals:
        await until(lambda: bool(renewals), "the certificate is renewed")
        assert await ends(vault)
        await uplink.sync(asking())
        assert await connects(member)
    after = vault.load()
    assert (after.device, after.key_pem) == (BOX, before.key_pem)
    assert after.chain[0].serial_number != before.chain[0].serial_number


async def test_a_young_certificate_is_left_alone_until_somebody_asks(gates: Gates, tmp_path: Path) -> None:
    """Then it is renewed at once."""
    configured, vault = await enrolled(gates, tmp_path)
    serial = vault.load().chain[0].serial_number
    member = Member(vault, vault.load(), configured)
    async with uplink_of(member) as uplink, keeping(member, uplink) as renewals:
        await uplink.sync(asking())
        assert renewals == []
        assert vault.load().chain[0].serial_number == serial
        member.look_again()
        await until(lambda: bool(renewals), "the certificate is renewed")


async def test_by_a_clock_that_is_months_fast_it_is_not_renewed_again_and_again(tmp_path: Path) -> None:
    """To this box each new certificate is past its half already: one an hour is enough."""
    slow = FakeClock(datetime.now(UTC) - timedelta(days=60))
    async with secure_gates(tmp_path / "control", issuing=slow) as gates:
        configured, vault = await enrolled(gates, tmp_path)
        member = Member(vault, vault.load(), configured)
        async with uplink_of(member) as uplink, keeping(member, uplink) as renewals:
            await until(lambda: bool(renewals), "the certificate is renewed")
            for _ in range(30):  # each takes as long as a renewal would
                await uplink.sync(asking())
            assert len(renewals) == 1
            member.look_again()
            await until(lambda: len(renewals) == 2, "it is renewed when asked")


async def test_keys_learnt_by_a_sync_are_pinned_on_disk(gates: Gates, tmp_path: Path) -> None:
    """A restart knows the next key before it signs."""
    configured, vault = await enrolled(gates, tmp_path)
    made = await keys.rotate(gates.world)
    member = Member(vault, vault.load(), configured)
    assert made not in vault.load().keys
    async with uplink_of(member) as uplink:
        await uplink.sync(asking())
    assert set(vault.load().keys) == {made, gates.world.keyring.signer(gates.world.clock.now()).id}


async def test_a_box_that_missed_a_rotation_learns_the_keys_by_a_renewal(gates: Gates, tmp_path: Path) -> None:
    """A Sync signed with an unknown key is not believed, and has the box ask where the root vouches for the answer."""
    configured, vault = await enrolled(gates, tmp_path)
    known = vault.load().control_plane
    stranger = Keyring(tmp_path / "other", gates.world.clock.now()).signer(gates.world.clock.now())
    vault.remember(replace(known, keys=(stranger.public.hex(),)))
    member = Member(vault, vault.load(), configured)
    async with uplink_of(member) as uplink, keeping(member, uplink) as renewals:
        with pytest.raises(Unavailable, match="not signed as it should be"):
            await uplink.sync(asking())
        await until(lambda: bool(renewals), "the keys are asked for")
        await uplink.sync(asking())
    assert vault.load().keys == Vault(tmp_path / "state" / "identity").load().keys
    assert stranger.id not in vault.load().keys


class FullDisk(Vault):
    """Has no room the first time."""

    failures = 1

    def keep(self, identity: Identity) -> None:
        self._fail()
        super().keep(identity)

    def pin(self, keys: signing.Keys) -> None:
        self._fail()
        super().pin(keys)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")


async def test_keys_that_cannot_be_pinned_are_learnt_by_the_next_sync(gates: Gates, tmp_path: Path) -> None:
    """A full disk is trouble that passes: the answer is not taken, and nothing ends."""
    configured, _ = await enrolled(gates, tmp_path)
    vault = FullDisk(tmp_path / "state" / "identity")
    made = await keys.rotate(gates.world)
    member = Member(vault, vault.load(), configured)
    async with uplink_of(member) as uplink:
        with pytest.raises(Unavailable, match=r"keys could not be kept.*No space left"):
            await uplink.sync(asking())
        await uplink.sync(asking())
    assert made in vault.load().keys


async def test_a_full_disk_does_not_end_the_agent(
    gates: Gates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The old certificate stays, and it is tried again."""
    configured, _ = await enrolled(gates, tmp_path, 60)
    vault = FullDisk(tmp_path / "state" / "identity")
    member = Member(vault, vault.load(), configured)
    async with uplink_of(member) as uplink, keeping(member, uplink) as renewals:
        await until(lambda: "No space left" in caplog.text, "the first attempt fails")
        assert renewals == []
        member.look_again()
        await until(lambda: bool(renewals), "the second one works")
    assert await ends(vault)


async def test_a_box_that_was_shut_out_is_told_so_and_keeps_what_it_has(
    gates: Gates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes back by itself when it is let in again."""
    configured, vault = await enrolled(gates, tmp_path, 100)
    await Box(gates.world, BOX).register()
    await standing.disable(gates.world, BOX, "stolen")
    member = Member(vault, vault.load(), configured)
    async with uplink_of(member) as uplink, keeping(member, uplink) as renewals:
        await until(lambda: "device box-1 is disabled: stolen" in caplog.text, "it is told")
        await standing.enable(gates.world, BOX)
        member.look_again()
        await until(lambda: bool(renewals), "it is back")


async def test_an_id_in_the_configuration_must_be_the_one_it_was_enrolled_as(gates: Gates, tmp_path: Path) -> None:
    """Else the sentence says which both are; an id nobody wrote there is no obstacle."""
    await enrolled(gates, tmp_path)
    with pytest.raises(NotEnrolled, match=r"'gate-7', but this box was enrolled as 'box-1'"):
        membership(config(tmp_path, CONFIG.replace("box-1", "gate-7")))
    assert membership(config(tmp_path, CONFIG.replace('id = "box-1"\n', ""))).device == BOX


async def test_addresses_of_the_configuration_beat_those_of_the_enrolment(gates: Gates, tmp_path: Path) -> None:
    """For a box that reaches the control plane another way."""
    await enrolled(gates, tmp_path)
    told = '\n[control_plane]\ngateway = "other.example:1"\nbroker = "mqtts://broker.example:2"\n'
    member = membership(config(tmp_path, CONFIG + told))
    assert (member.gateway.host, member.gateway.port) == ("other.example", 1)
    assert (member.broker.host, member.broker.port) == ("broker.example", 2)


async def test_an_outsider_proves_nothing(tmp_path: Path) -> None:
    """On loopback, if the configuration says so: no TLS, nothing to renew."""
    member = membership(config(tmp_path, CONFIG + "[control_plane]\ninsecure = true\n"))
    assert (member.mqtt_tls(), member.grpc_credentials(), member.device) == (None, None, BOX)
    assert isinstance(member, Outsider)
    member.look_again()
