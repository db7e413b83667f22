"""What Headwater needs of an MQTT v5 broker: one suite, held against the embedded one and against real mosquitto.

Where mosquitto 2.0.11 (Debian 12) does otherwise than the specification, the test says what it does instead.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from headwater_control.edges.broker import Limits, serve
from headwater_control.edges.broker import packets as p
from headwater_control.edges.broker.properties import PublishProperties
from headwater_control.edges.broker.reasons import Reason

from tests.control_plane.broker.raw_client import RawClient, connected, opened
from tests.support.mosquitto import running_mosquitto

_MAXIMUM_PACKET_BYTES = 100_000
_CONFIG = """
max_qos 1
retain_available false
max_topic_alias 0
max_packet_size {maximum}
acl_file {acl}
"""
_ACL = "topic readwrite #\ntopic readwrite $own/#\ntopic deny secret/#\n"


@dataclass(frozen=True, slots=True)
class Target:
    """The broker under test."""

    port: int
    mosquitto: bool = False


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    """Run one broker, configured alike: QoS up to 1, nothing retained, no aliases, `secret/#` forbidden."""
    if request.param == "embedded":

        def authorize(client_id: str, action: str, topic: str) -> bool:
            return not topic.startswith("secret/")

        limits = Limits(packet_bytes=_MAXIMUM_PACKET_BYTES, linger_s=0.1)
        async with serve("127.0.0.1", 0, authorize=authorize, limits=limits) as broker:
            yield Target(broker.port)
    else:
        acl = tmp_path / "acl"
        acl.write_text(_ACL)
        acl.chmod(0o600)
        async with running_mosquitto(tmp_path, _CONFIG.format(maximum=_MAXIMUM_PACKET_BYTES, acl=acl)) as real:
            yield Target(real.port, mosquitto=True)


async def payloads(client: RawClient) -> list[str]:
    """Collect the messages the broker has sent by now."""
    return [packet.payload.decode() for packet in await client.so_far() if isinstance(packet, p.Publish)]


# ── what is offered ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_connack_says_what_is_offered(target: Target) -> None:
    """QoS 1 at most, nothing retained, no aliases, maximum packet size, receive maximum; an id if none was given."""
    async with connected(target.port, "") as (_, welcome):
        offered = welcome.properties
        assert welcome.reason == 0
        assert offered.maximum_qos == 1
        assert offered.retain_available == 0
        assert not offered.topic_alias_maximum
        assert offered.maximum_packet_bytes == _MAXIMUM_PACKET_BYTES
        assert offered.receive_maximum is not None
        assert offered.assigned_client_id


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (p.Publish("t", b"", 2, 1), Reason.QOS_NOT_SUPPORTED),
        (p.Publish("t", b"", retain=True), Reason.RETAIN_NOT_SUPPORTED),
        (p.Publish("t", b"", properties=PublishProperties(topic_alias=1)), Reason.TOPIC_ALIAS_INVALID),
        (p.Publish("t", b"x" * _MAXIMUM_PACKET_BYTES), Reason.PACKET_TOO_LARGE),
        (p.Connect("again"), Reason.PROTOCOL_ERROR),
    ],
)
async def test_what_is_not_offered_is_refused(target: Target, packet: p.Packet, reason: Reason) -> None:
    """With the reason for it, and the end of the connection."""
    async with connected(target.port, "c") as (client, _):
        await client.send(packet)
        ending = await client.ending()
    if target.mosquitto and isinstance(packet, p.Connect):  # closes without a word
        assert ending is None
    else:
        assert ending == reason


async def test_a_connection_begins_with_connect(target: Target) -> None:
    """Anything else before it ends the connection, without an answer."""
    async with opened(target.port) as stranger:
        await stranger.send(p.Pingreq())
        assert [packet for packet in await stranger.rest() if not isinstance(packet, p.Disconnect)] == []


async def test_malformed_bytes_do_not_harm_others(target: Target) -> None:
    """The sender is disconnected; a healthy client's messages go on."""
    async with connected(target.port, "good") as (good, _):
        await good.subscribe("t")
        for data in (b"\x00\x00", b"\x30\xff\xff\xff\xff\x01", b"\x82\x03\x00\x01\x00", b"\x30\x04\x00\x01\xff\x00"):
            async with connected(target.port, "bad") as (bad, _):
                await bad.send_bytes(data)
                await bad.rest()
        await good.publish("t", b"x", qos=0)
        assert (await good.message()).payload == b"x"


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message_arrives_as_it_was_published(target: Target, qos: int) -> None:
    """Topic, payload, QoS and every property that is the publisher's."""
    said = PublishProperties(
        payload_format=0,
        content_type="application/x-protobuf",
        response_topic="answers",
        correlation_data=b"\x01\x02",
        user_properties=(("a", "1"), ("a", "2")),
    )
    async with connected(target.port, "in") as (reader, _), connected(target.port, "out") as (writer, _):
        assert await reader.subscribe("t/+") == (1,)
        await writer.send(p.Publish("t/x", b"\x00\xff", qos, 1 if qos else 0, properties=said))
        message = await reader.message()
    assert (message.topic, message.payload, message.qos, message.dup, message.retain) == (
        "t/x", b"\x00\xff", qos, False, False,
    )  # fmt: skip
    expected = said
    if target.mosquitto:  # leaves out a payload format of 0, which is what its absence means
        expected = PublishProperties(
            content_type=said.content_type,
            response_topic=said.response_topic,
            correlation_data=said.correlation_data,
            user_properties=said.user_properties,
        )
    assert message.properties in (said, expected)


async def test_the_publisher_learns_whether_anybody_listens(target: Target) -> None:
    """PUBACK has 0x10 when there is no subscriber."""
    async with connected(target.port, "c") as (client, _):
        assert await client.publish("nobody") == Reason.NO_MATCHING_SUBSCRIBERS


@pytest.mark.parametrize(
    ("topic_filter", "arriving"),
    [
        ("hw/v1/d/+/up/#", ["hw/v1/d/a/up/x"]),
        ("hw/#", ["hw/v1/d/a/up/x", "hw"]),
        ("#", ["hw/v1/d/a/up/x", "hw", "other"]),
        ("+", ["hw", "other"]),
        ("$own/#", ["$own/x"]),
        ("+/x", []),
    ],
)
async def test_wildcards_cover_what_they_should(target: Target, topic_filter: str, arriving: list[str]) -> None:
    """A wildcard at the front does not cover topics that begin with $."""
    async with connected(target.port, "in") as (reader, _):
        await reader.subscribe(topic_filter)
        for topic in ("hw/v1/d/a/up/x", "hw", "other", "$own/x"):
            await reader.send(p.Publish(topic, b""))
        assert [m.topic for m in await reader.so_far() if isinstance(m, p.Publish)] == arriving


async def test_the_acl_refuses_aloud(target: Target) -> None:
    """0x87 in PUBACK and in SUBACK, for just what is forbidden; a refused QoS 0 message is dropped."""
    async with connected(target.port, "c") as (client, _):
        reasons = await client.subscribe("open/#", "secret/x")
        assert await client.publish("secret/x") == Reason.NOT_AUTHORIZED
        await client.publish("secret/x", qos=0)
        await client.publish("open/x", b"open", qos=0)
        assert await payloads(client) == ["open"]
        # mosquitto 2.0.11 grants the subscription and checks the ACL on delivery instead
        assert reasons in ((1, Reason.NOT_AUTHORIZED), (1, 1) if target.mosquitto else ())


async def test_unsubscribing_ends_the_flow(target: Target) -> None:
    """UNSUBACK tells which subscriptions there were."""
    async with connected(target.port, "c") as (client, _):
        await client.subscribe("t")
        await client.send(p.Unsubscribe(7, ("t", "never")))
        assert await client.next() == p.Unsuback(7, (0, Reason.NO_SUBSCRIPTION_EXISTED))
        await client.publish("t", b"x", qos=0)
        assert await payloads(client) == []


async def test_expiry_is_told_and_counts_down(target: Target) -> None:
    """What waited is told with what is left of its interval; it never grows."""
    async with connected(target.port, "out") as (writer, _):
        async with connected(target.port, "in", expiry_s=60) as (reader, _):
            await reader.subscribe("t")
            await reader.leave()
        await writer.publish("t", b"x", message_expiry_s=100)
        async with connected(target.port, "in", clean=False) as (reader, _):
            left = (await reader.message()).properties.message_expiry_s
    assert left is not None
    assert 90 <= left <= 100


async def test_the_clients_receive_maximum_is_respected(target: Target) -> None:
    """No more unacknowledged messages than it asked for are on their way."""
    async with (
        connected(target.port, "in", receive_maximum=2) as (reader, _),
        connected(target.port, "out") as (writer, _),
    ):
        await reader.subscribe("t")
        for number in range(6):
            await writer.publish("t", str(number).encode())
        first = [packet for packet in await reader.so_far() if isinstance(packet, p.Publish)]
        assert [m.payload for m in first] == [b"0", b"1"]
        await reader.ack(first[0])
        second = await payloads(reader)
        if target.mosquitto:  # forgets the maximum after the first acknowledgement
            assert second[0] == "2"
        else:
            assert second == ["2"]


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_keeps_what_comes_meanwhile(target: Target) -> None:
    """QoS 1 messages wait for their client; clean start lets them go."""
    async with connected(target.port, "out") as (writer, _):
        for clean in (False, True):
            async with connected(target.port, "in", clean=clean, expiry_s=60) as (reader, welcome):
                assert not welcome.session_present
                await reader.subscribe("t")
                await reader.leave()
            await writer.publish("t", b"x")
            async with connected(target.port, "in", clean=clean, expiry_s=0) as (reader, welcome):
                assert welcome.session_present is not clean
                assert await payloads(reader) == ([] if clean else ["x"])
                await reader.leave()


async def test_what_is_not_acknowledged_comes_again(target: Target) -> None:
    """With DUP and its identifier, before anything newer, in order."""
    async with connected(target.port, "out") as (writer, _):
        async with connected(target.port, "in", expiry_s=60) as (reader, _):
            await reader.subscribe("t")
            for number in range(3):
                await writer.publish("t", str(number).encode())
            sent = await reader.messages(3)
            await reader.ack(sent[1])
            assert await reader.so_far() == []
            await reader.vanish()
        await writer.publish("t", b"3")
        async with connected(target.port, "in", clean=False, expiry_s=60) as (reader, _):
            again = await reader.messages(3)
    assert [(m.payload, m.dup) for m in again] == [(b"0", True), (b"2", True), (b"3", False)]
    assert [m.packet_id for m in again[:2]] == [sent[0].packet_id, sent[2].packet_id]


async def test_a_newcomer_takes_over(target: Target) -> None:
    """The connection that was there gets 0x8E; the session, kept by its expiry interval, goes on."""
    async with connected(target.port, "c", expiry_s=60) as (old, _):
        await old.subscribe("t")
        async with connected(target.port, "c", clean=False, expiry_s=60) as (new, welcome):
            # mosquitto 2.0.11 closes the old connection without saying why
            assert await old.ending() == (None if target.mosquitto else Reason.SESSION_TAKEN_OVER)
            assert welcome.session_present
            await new.publish("t", b"x", qos=0)
            assert await payloads(new) == ["x"]


# ── last wills ───────────────────────────────────────────────────────────────────────────────────────────────────


def will(delay_s: int | None = None) -> p.Will:
    """Make one."""
    made = PublishProperties(will_delay_s=delay_s, user_properties=(("k", "v"),))
    return p.Will("will/c", b"gone", 1, properties=made)


async def test_a_lost_client_is_mourned(target: Target) -> None:
    """Its will is published, with its properties, when the connection is cut."""
    async with connected(target.port, "watcher") as (watcher, _):
        await watcher.subscribe("will/#")
        async with connected(target.port, "c", will=will()) as (dying, _):
            await dying.vanish()
        message = await watcher.message()
    assert (message.payload, message.qos, message.properties.user_properties) == (b"gone", 1, (("k", "v"),))


@pytest.mark.parametrize(("reason", "mourned"), [(0, False), (Reason.DISCONNECT_WITH_WILL, True)])
async def test_a_goodbye_decides_over_the_will(target: Target, reason: int, mourned: bool) -> None:
    """A plain DISCONNECT discards it, one with 0x04 publishes it."""
    async with connected(target.port, "watcher") as (watcher, _):
        await watcher.subscribe("will/#")
        async with connected(target.port, "c", will=will()) as (leaving, _):
            await leaving.leave(reason)
        assert await payloads(watcher) == (["gone"] if mourned else [])


async def test_a_violation_is_a_death(target: Target) -> None:
    """A client that is disconnected for what it sent is mourned like one that was lost."""
    async with connected(target.port, "watcher") as (watcher, _):
        await watcher.subscribe("will/#")
        async with connected(target.port, "c", will=will()) as (bad, _):
            await bad.send_bytes(b"\x00\x00")
            await bad.rest()
        assert (await watcher.message()).payload == b"gone"


async def test_a_client_that_is_back_before_its_wills_delay_is_not_mourned(target: Target) -> None:
    """A delayed will is taken back by the new connection; without the delay it would have been out already."""
    async with connected(target.port, "watcher") as (watcher, _):
        await watcher.subscribe("will/#")
        async with connected(target.port, "c", expiry_s=60, will=will(30)) as (dying, _):
            await dying.vanish()
        async with connected(target.port, "c", clean=False, expiry_s=60) as (back, welcome):
            assert welcome.session_present
            assert await payloads(watcher) == []
            await back.leave()
        assert await payloads(watcher) == []


async def test_a_will_that_may_not_be_published_is_not(target: Target) -> None:
    """The ACL holds for wills too: CONNECT is refused (0x87)."""
    async with connected(target.port, "c", will=p.Will("secret/x", b"gone", 1)) as (_, welcome):
        # mosquitto 2.0.11 lets the client in, and would drop the will when its time comes
        assert welcome.reason == (0 if target.mosquitto else Reason.NOT_AUTHORIZED)


# ── shared subscriptions ─────────────────────────────────────────────────────────────────────────────────────────


async def test_members_share_evenly(target: Target) -> None:
    """Each message reaches one member, and they take turns."""
    async with (
        connected(target.port, "one") as (one, _),
        connected(target.port, "two") as (two, _),
        connected(target.port, "out") as (writer, _),
    ):
        for member in (one, two):
            assert await member.subscribe("$share/g/t/#") == (1,)
        for number in range(10):
            await writer.publish("t/x", str(number).encode())
        shares = [await payloads(one), await payloads(two)]
    assert sorted(shares) == [[str(n) for n in range(0, 10, 2)], [str(n) for n in range(1, 10, 2)]]


async def test_an_absent_member_takes_nothing_from_the_others(target: Target) -> None:
    """While one member is there it gets everything."""
    async with connected(target.port, "out") as (writer, _), connected(target.port, "there") as (there, _):
        async with connected(target.port, "gone", expiry_s=60) as (gone, _):
            await gone.subscribe("$share/g/t")
            await there.subscribe("$share/g/t")
            await gone.leave()
        for number in range(4):
            await writer.publish("t", str(number).encode())
        arrived = await payloads(there)
        if not target.mosquitto:
            assert arrived == ["0", "1", "2", "3"]
            return
        # mosquitto 2.0.11 gives absent members their turns as well: the messages wait until such a one is back
        async with connected(target.port, "gone", clean=False) as (back, welcome):
            assert welcome.session_present
            late = await payloads(back)
        assert late
        assert sorted(arrived + late) == ["0", "1", "2", "3"]


async def test_what_a_member_left_unacknowledged_goes_to_another(target: Target) -> None:
    """When its session ends with its connection, the others get what it had not acknowledged."""
    async with connected(target.port, "out") as (writer, _), connected(target.port, "heir") as (heir, _):
        async with connected(target.port, "dying") as (dying, _):
            await dying.subscribe("$share/g/t")
            await writer.publish("t", b"x")
            await dying.message()
            await heir.subscribe("$share/g/t")
            await dying.vanish()
        if target.mosquitto:  # the message is gone with the session, as the specification's SHOULD allows
            assert await payloads(heir) == []
        else:
            assert (await heir.message()).payload == b"x"
