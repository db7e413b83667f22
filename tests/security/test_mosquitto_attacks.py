"""Attacks on mosquitto as `headwater broker-config` sets it up: each test is one, and shows that it fails."""

import asyncio
import json
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import pytest
from cryptography import x509
from headwater_control.edges.ca import embedded
from headwater_control.edges.mosquitto.reload import Reload
from headwater_control.service.roll import Roll
from headwater_wire.ids import DeviceId
from headwater_wire.topics import CONTROL_FILTER, control_filter, down, down_filter, up

from tests.fakes.memory_store import MemoryStore
from tests.support.battleground import Ground, cancelled, certified, listen
from tests.support.knocking import PATIENCE_S, REFUSED, WELCOME, insisting, knock, knock_on, last_words, shown
from tests.support.secure_mosquitto import secure_mosquitto
from tests.support.waiting import until

pytestmark = pytest.mark.mosquitto

ONE, TWO = DeviceId("box-1"), DeviceId("box-2")
BITES_WITHIN_S = 2.0
COMMANDS = "$CONTROL/dynamic-security/v1"


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A broker that runs."""
    with secure_mosquitto(tmp_path / "data", tmp_path / "mosquitto") as broker:
        authority = embedded(tmp_path / "data" / "ca", datetime.now(UTC))
        yield Ground(broker, authority, tmp_path, MemoryStore(), Roll())


async def test_without_a_certificate_nobody_gets_in(ground: Ground) -> None:
    """A client that believes our root and has no certificate is refused."""
    context = ssl.create_default_context(cadata=ground.authority.root_pem.decode())
    assert await knock(ground.broker.port, context) is REFUSED
    assert await knock(ground.broker.port, await ground.enrol(ONE)) == WELCOME, "else the refusal shows nothing"


async def test_a_foreign_authority_vouches_for_nobody(ground: Ground) -> None:
    """A certificate with a device's name, by another root, is refused."""
    foreign = embedded(ground.folder / "foreign", datetime.now(UTC))
    context, _ = certified(foreign, ONE, ground.authority.root_pem)
    assert await knock(ground.broker.port, context) is REFUSED


async def test_another_issuer_beneath_our_root_vouches_for_nobody(ground: Ground) -> None:
    """The root may have made other issuers, for other purposes: what they issue is refused, chain and all."""
    shutil.copytree(ground.folder / "data" / "ca", ground.folder / "sibling")
    (ground.folder / "sibling" / "issuing.pem").unlink()
    sibling = embedded(ground.folder / "sibling", datetime.now(UTC))
    assert sibling.root_pem == ground.authority.root_pem
    context, _ = certified(sibling, ONE, ground.authority.root_pem)
    assert await knock(ground.broker.port, context) is REFUSED


async def test_an_expired_certificate_is_refused(ground: Ground) -> None:
    """By the handshake already."""
    context, record = certified(ground.authority, ONE, ground.authority.root_pem, timedelta(days=91))
    assert record.ends < datetime.now(UTC)
    assert await knock(ground.broker.port, context) is REFUSED


async def test_a_server_s_certificate_opens_nothing(ground: Ground) -> None:
    """The broker's own certificate, stolen from its folder, is for servers only."""
    context = ssl.create_default_context(cadata=ground.authority.root_pem.decode())
    context.load_cert_chain(ground.broker.folder / "broker.pem")
    assert await knock(ground.broker.port, context) is REFUSED


async def test_a_valid_certificate_takes_no_other_client_over(ground: Ground) -> None:
    """Who comes under another's client id gets its own: the other stays, and its topics are the other's."""
    victim, thief = await ground.enrol(ONE), await ground.enrol(TWO)
    async with ground.gate() as heard, ground.client(ONE, victim) as one, ground.client(ONE, thief) as two:
        await two.publish(up(ONE, "hello"), b"forged", qos=1)
        await two.publish(up(TWO, "hello"), b"mine", qos=1)
        await one.publish(up(ONE, "heartbeat"), b"alive", qos=1)
        await until(lambda: len(heard) == 2, "both have spoken for themselves")
        assert sorted(heard) == [up(ONE, "heartbeat"), up(TWO, "hello")]


@pytest.mark.parametrize(
    "topic",
    [
        up(TWO, "hello"),
        down(TWO, "task"),
        down(ONE, "task"),
        up(ONE, "other"),
        "hw/v1/d/box-1/up",
        "elsewhere",
        "$SYS/x",
    ],
)
async def test_a_device_writes_its_own_topics_only(ground: Ground, topic: str) -> None:
    """What it sends elsewhere reaches nobody: not another device, not the control plane, not itself."""
    first, second = await ground.enrol(ONE), await ground.enrol(TWO)
    async with ground.gate("#") as heard, ground.client(TWO, second) as other, ground.client(ONE, first) as attacker:
        whispers: list[str] = []
        for client, device in ((other, TWO), (attacker, ONE)):
            await client.subscribe(down_filter(device), qos=1)
        listeners = [asyncio.create_task(listen(client, whispers)) for client in (other, attacker)]
        await attacker.publish(topic, b"forged", qos=1)
        await attacker.publish(up(ONE, "hello"), b"mine", qos=1)
        await until(lambda: bool(heard), "its own message is heard")
        async with ground.link.connect("publisher") as publisher:
            for device in (ONE, TWO):
                await publisher.publish(down(device, "sync"), b"", qos=1)
        await until(lambda: len(whispers) == 2, "both devices are rung")
        assert heard == [up(ONE, "hello")]
        assert sorted(whispers) == [down(ONE, "sync"), down(TWO, "sync")]
        await cancelled(*listeners)


async def test_a_device_hears_what_is_said_to_it_only(ground: Ground) -> None:
    """It may subscribe to everything, and gets nothing by it: neither what others say, nor what they are told."""
    first, second = await ground.enrol(ONE), await ground.enrol(TWO)
    async with ground.gate() as heard, ground.client(ONE, first) as spy, ground.client(TWO, second) as other:
        overheard: list[str] = []
        for wish in (
            down_filter(TWO),
            "hw/v1/d/+/up/#",
            "#",
            "$SYS/#",
            "$CONTROL/#",
            f"$share/mine/{down_filter(TWO)}",
        ):
            await spy.subscribe(wish, qos=1)
        listener = asyncio.create_task(listen(spy, overheard))
        async with ground.bouncing(), ground.link.connect("publisher") as publisher:
            await other.publish(up(TWO, "hello"), b"", qos=1)
            for device in (TWO, ONE):
                await publisher.publish(down(device, "task"), b"", qos=1)
            await until(lambda: heard == [up(TWO, "hello")] and bool(overheard), "all was said")
        assert set(overheard) == {down(ONE, "task")}
        await cancelled(listener)


async def test_a_device_that_joins_the_control_plane_s_share_swallows_nothing(ground: Ground) -> None:
    """mosquitto would give it every second message, and drop it at its ACL: so the share's name is secret."""
    first, second = await ground.enrol(ONE), await ground.enrol(TWO)
    sent = [up(TWO, "hello")] * 20
    async with ground.gate() as heard, ground.client(ONE, first) as thief, ground.client(TWO, second) as honest:
        for guess in (CONTROL_FILTER, control_filter(""), control_filter("0" * 32)):
            await thief.subscribe(guess, qos=1)
        for topic in sent:
            await honest.publish(topic, b"", qos=1)
        await until(lambda: len(heard) == len(sent), "each message reaches the control plane")


async def test_a_last_will_can_t_speak_for_another(ground: Ground) -> None:
    """A will is a publication too: one on another's topic is dropped when the connection breaks."""
    context, other = await ground.enrol(ONE), await ground.enrol(TWO)
    async with ground.gate() as heard:
        for topic in (up(TWO, "presence"), up(ONE, "presence")):
            forger = ground.client(ONE, context, aiomqtt.Will(topic, b"gone", qos=1))
            await forger.__aenter__()
            below = forger._client.socket()
            assert isinstance(below, socket.socket)
            below.shutdown(socket.SHUT_RDWR)  # broken, so that the will is sent
            with suppress(aiomqtt.MqttError):
                await forger.__aexit__(None, None, None)
        async with ground.client(TWO, other) as honest:
            await honest.publish(up(TWO, "hello"), b"", qos=1)
        await until(lambda: {up(ONE, "presence"), up(TWO, "hello")} <= set(heard), "its own will is sent")
        assert up(TWO, "presence") not in heard


async def test_a_device_can_t_command_the_broker(ground: Ground) -> None:
    """To disable another through the broker's own control topic is for the control plane."""
    first, second = await ground.enrol(ONE), await ground.enrol(TWO)
    before = (ground.broker.folder / "state" / "dynamic-security.json").read_text()
    names = [("createClient", TWO), ("disableClient", TWO), ("createClient", "control:gate"), ("disableClient", ONE)]
    order = {"commands": [{"command": command, "username": name} for command, name in names]}
    async with ground.gate() as heard, ground.client(TWO, second) as victim, ground.client(ONE, first) as attacker:
        await attacker.publish(COMMANDS, json.dumps(order), qos=1)
        await attacker.publish(up(ONE, "hello"), b"", qos=1)
        await victim.publish(up(TWO, "hello"), b"", qos=1)
        await until(lambda: len(heard) == 2, "all are still connected")
    assert (ground.broker.folder / "state" / "dynamic-security.json").read_text() == before


async def test_a_packet_of_any_size_is_not_taken(ground: Ground) -> None:
    """Who announces more than 256 KiB is cut off at its first bytes; what an agent may send is taken."""
    context = await ground.enrol(ONE)
    announced = b"\x30\x80\x80\x40"  # a PUBLISH of a mebibyte
    assert await asyncio.to_thread(last_words, ground.broker.port, context, announced) in {b"", b"\xe0\x01\x95"}
    async with ground.gate() as heard, ground.client(ONE, context) as client:
        await client.publish(up(ONE, "heartbeat"), b"x" * 65_536, qos=1)
        await until(lambda: heard == [up(ONE, "heartbeat")], "a message that agents may send is taken")


async def test_who_is_disabled_is_out_within_two_seconds_and_stays_out(ground: Ground) -> None:
    """However hard it tries to come back; another device notices nothing; once enabled it is let in again."""
    first, second = await ground.enrol(ONE), await ground.enrol(TWO)
    inside: list[float] = []
    async with ground.bouncing(), ground.gate() as heard, ground.client(TWO, second) as other:
        with insisting(ground.broker.port, first, inside):
            await until(lambda: bool(inside), "it is in")
            disabled_at = time.monotonic()
            await ground.shut_out(ONE)
            await until(lambda: inside[-1] < time.monotonic() - BITES_WITHIN_S, "it is out, and stays out")
            assert inside[-1] > disabled_at - 1, "it was in until then"
            assert inside[-1] - disabled_at < BITES_WITHIN_S
        await other.publish(up(TWO, "hello"), b"", qos=1)
        await until(lambda: heard == [up(TWO, "hello")], "the other device is still connected")
        assert ground.broker.log.count("as box-2 ") == 1, "the other device had to come back"
        await ground.shut_out(ONE, out=False)

        async def back() -> bool:
            return await knock(ground.broker.port, first) == WELCOME

        await until(back, "it is let in again")


async def test_a_tls_session_from_before_lets_nobody_in_who_is_shut_out(ground: Ground) -> None:
    """A resumed session skips the certificate (RFC 8446, 2.2): one that is older than the list is worth nothing."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = await ground.enrol(DeviceId(f"box-{version.name}"))
        context.maximum_version = version
        async with ground.bouncing():
            tickets: list[ssl.SSLSession] = []
            assert await knock(ground.broker.port, context, keep=tickets) == WELCOME
            await ground.shut_out(DeviceId(f"box-{version.name}"))
            await until(lambda: _refuses(ground, context), "it is shut out")  # noqa: B023 (awaited in the loop)
            assert await knock(ground.broker.port, context, ticket=tickets[0]) is REFUSED


async def test_a_connection_from_before_the_list_ends_too(ground: Ground) -> None:
    """Who connects, waits until it is shut out and then shows its certificate is not let in for it."""
    context = await ground.enrol(ONE)
    async with ground.bouncing():
        connections = ground.broker.log.count("New connection")
        early = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", ground.broker.port), PATIENCE_S)
        await until(lambda: ground.broker.log.count("New connection") > connections, "it waits at the door")
        await ground.shut_out(ONE)
        await until(lambda: _refuses(ground, context), "it is shut out")
        assert await asyncio.to_thread(knock_on, early, context, None, []) is REFUSED


async def test_a_renewed_broker_certificate_is_shown_after_a_reload_and_nobody_is_cut_off(ground: Ground) -> None:
    """So that its end need not be feared: connections that are open stay."""
    context = await ground.enrol(ONE)
    async with ground.gate() as heard, ground.client(ONE, context) as client:
        before = await asyncio.to_thread(shown, ground.broker.port, context)
        ground.broker.configure()
        await Reload(ground.broker.reload).run()

        async def renewed() -> bool:
            return await asyncio.to_thread(shown, ground.broker.port, context) != before

        await until(renewed, "the new certificate is shown")
        await client.publish(up(ONE, "hello"), b"", qos=1)
        await until(lambda: heard == [up(ONE, "hello")], "both are still connected")


async def test_who_is_disabled_while_the_broker_is_down_is_out_when_it_is_back(ground: Ground) -> None:
    """The list is on disk; the control plane tells the broker again once it runs, and reports what did not work."""
    context = await ground.enrol(ONE)
    async with ground.bouncing():
        ground.broker.kill()
        await ground.shut_out(ONE)
        await until(lambda: _listed(ground) == 1, "the list is written")
        ground.broker.start()
        assert await knock(ground.broker.port, context) is REFUSED


async def test_a_second_run_of_broker_config_lets_nobody_in(ground: Ground) -> None:
    """To renew the broker's certificate neither forgets who is shut out, nor the plugin's state."""
    context = await ground.enrol(ONE)
    async with ground.bouncing():
        await ground.shut_out(ONE)
        await until(lambda: _listed(ground) == 1, "the list is written")
    old = (ground.broker.folder / "broker.pem").read_bytes()
    ground.broker.configure()
    assert (ground.broker.folder / "broker.pem").read_bytes() != old
    ground.broker.kill()
    ground.broker.start()
    assert await knock(ground.broker.port, context) is REFUSED


async def _refuses(ground: Ground, context: ssl.SSLContext) -> bool:
    return await knock(ground.broker.port, context) is REFUSED


def _listed(ground: Ground) -> int:
    return len(x509.load_pem_x509_crl((ground.broker.folder / "crl.pem").read_bytes()))
