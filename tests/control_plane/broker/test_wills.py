"""When a last will is published, and when not (sections 3.1.2.5 and 3.1.3.2)."""

import pytest
from headwater_control.edges.broker.packets import Connack, Will
from headwater_control.edges.broker.properties import PublishProperties
from headwater_control.edges.broker.reasons import Reason

from tests.control_plane.broker.desk import Desk, Peer


def watch(desk: Desk) -> Peer:
    """Subscribe to wills."""
    peer = desk.joined("watcher")
    peer.subscribe("will/#")
    return peer


def will(delay_s: int | None = None, **properties: object) -> Will:
    """Make one."""
    made = PublishProperties(will_delay_s=delay_s, **properties)  # type: ignore[arg-type]
    return Will("will/a", b"gone", 1, False, made)


def test_a_lost_connection_publishes_the_will() -> None:
    """At once, with its properties, but not its delay."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", will=will(content_type="text/plain", user_properties=(("k", "v"),))).vanish()
    (message,) = watcher.messages()
    assert (message.topic, message.payload, message.qos) == ("will/a", b"gone", 1)
    assert message.properties == PublishProperties(content_type="text/plain", user_properties=(("k", "v"),))


def test_a_clean_disconnect_discards_the_will() -> None:
    """DISCONNECT with reason 0 says that all is well, also when the session lasts on and ends later."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", will=will()).leave()
    desk.joined("b", will=will(5), expiry_s=20).leave()
    desk.wait(100)
    assert watcher.messages() == []


@pytest.mark.parametrize("reason", [Reason.DISCONNECT_WITH_WILL, Reason.UNSPECIFIED])
def test_other_disconnects_publish_it(reason: Reason) -> None:
    """DISCONNECT with 0x04, or with an error, leaves the will in force."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", will=will()).leave(reason)
    assert watcher.payloads() == ["gone"]


def test_a_silent_client_gets_its_will_published() -> None:
    """After one and a half times the keep alive the connection is closed (0x8D) and the will sent."""
    desk = Desk()
    watcher = watch(desk)
    silent = desk.joined("a", keep_alive_s=10, will=will())
    desk.wait(14.9)
    assert not silent.closed
    desk.wait(0.2)
    assert silent.ending == Reason.KEEP_ALIVE_TIMEOUT
    assert silent.closed
    assert watcher.payloads() == ["gone"]


def test_a_delayed_will_waits() -> None:
    """It is published its delay after the connection is lost, and once."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", expiry_s=100, will=will(10)).vanish()
    desk.wait(9.9)
    assert watcher.messages() == []
    desk.wait(0.1)
    assert watcher.payloads() == ["gone"]
    desk.wait(200)
    assert watcher.messages() == []


def test_a_client_that_returns_in_time_takes_its_will_back() -> None:
    """A new connection to the session within the delay stops the will [MQTT-3.1.3-9]."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", expiry_s=100, will=will(10)).vanish()
    desk.wait(9)
    back = desk.joined("a", clean=False, expiry_s=100, will=will(10))
    desk.wait(50)
    assert watcher.messages() == []
    back.vanish()
    desk.wait(10)
    assert watcher.payloads() == ["gone"]


@pytest.mark.parametrize("expiry_s", [None, 3])
def test_the_end_of_the_session_ends_the_delay(expiry_s: int | None) -> None:
    """A will is published when its session ends, if that comes first."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", expiry_s=expiry_s, will=will(10)).vanish()
    if expiry_s:
        assert watcher.messages() == []
        desk.wait(expiry_s)
    assert watcher.payloads() == ["gone"]


def test_taking_over_stops_a_delayed_will() -> None:
    """The session goes on, so nobody has died."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", expiry_s=100, will=will(10))
    desk.joined("a", clean=False, expiry_s=100)
    desk.wait(50)
    assert watcher.messages() == []


@pytest.mark.parametrize(("expiry_s", "delay_s", "clean"), [(100, None, False), (100, 10, True), (None, 10, False)])
def test_taking_over_publishes_the_will(expiry_s: int | None, delay_s: int | None, clean: bool) -> None:
    """The old will is sent if it has no delay, or if the old session ends: by clean start, or as it had no expiry."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", expiry_s=expiry_s, will=will(delay_s))
    desk.joined("a", clean=clean, expiry_s=100)
    assert watcher.payloads() == ["gone"]


def test_starting_clean_while_a_will_is_pending_publishes_it() -> None:
    """Clean start ends the old session, and with it the delay."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", expiry_s=100, will=will(10)).vanish()
    desk.joined("a", clean=True)
    assert watcher.payloads() == ["gone"]


def test_a_wills_expiry_counts_from_its_publication() -> None:
    """The delay does not eat the message's own interval."""
    desk = Desk()
    watcher = watch(desk)
    desk.joined("a", expiry_s=100, will=will(10, message_expiry_s=7)).vanish()
    desk.wait(10)
    (message,) = watcher.messages()
    assert message.properties.message_expiry_s == 7


def test_a_will_must_be_allowed() -> None:
    """A client that may not publish its will is not let in (0x87)."""
    desk = Desk(authorize=lambda client_id, action, topic: topic != "will/a")
    assert desk.connect("a", will=will()).inbox == [Connack(Reason.NOT_AUTHORIZED)]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Will("t", b"", 2), Reason.QOS_NOT_SUPPORTED),
        (Will("t", b"", 1, True), Reason.RETAIN_NOT_SUPPORTED),
        (Will("/" * 100, b""), Reason.TOPIC_NAME_INVALID),
    ],
)
def test_a_will_must_be_possible(wrong: Will, reason: Reason) -> None:
    """A will that could not be published is refused at CONNECT."""
    desk = Desk()
    assert desk.connect("a", will=wrong).inbox == [Connack(reason)]
