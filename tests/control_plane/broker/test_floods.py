"""A publisher that sends more to a shared subscription than is taken loses what is its own, and costs nobody else."""

from collections.abc import Callable

import pytest
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.packets import Puback, Publish, Will
from headwater_control.edges.broker.reasons import Reason
from headwater_control.edges.broker.tally import Drop
from hypothesis import given
from hypothesis import strategies as st

from tests.control_plane.broker.desk import Desk, Peer

SHARED = "$share/g/t/#"
SHARE = 4


def flooded(qos: int = 1) -> tuple[Desk, Peer, Peer]:
    """Let a box send ten messages to a group whose member takes none at present; give the member and the box too."""
    desk = Desk(Limits(share_messages=SHARE))
    gate = desk.joined("gate", expiry_s=100, keep_alive_s=600)
    gate.subscribe(SHARED)
    gate.stall()
    flooder = desk.joined("flooder", keep_alive_s=600)
    for number in range(10):
        flooder.publish("t/flood", str(number), qos=qos)
    return desk, gate, flooder


@pytest.mark.parametrize("qos", [0, 1])
def test_a_publisher_has_its_share_of_what_waits_and_no_more(qos: int) -> None:
    """What is new of it is dropped, counted, and told under its name; what another sends comes right behind."""
    desk, gate, _ = flooded(qos)
    desk.joined("honest").publish("t/hello", "hello", qos=qos)
    gate.resume()
    assert gate.payloads() == ["0", "1", "2", "3", "hello"]
    assert desk.exchange.tally.drops == {Drop.SHARE_FULL: 10 - SHARE}
    assert {remark.client for remark in desk.exchange.tally.take_remarks()} == {"flooder"}


def test_what_is_not_acknowledged_belongs_to_the_share() -> None:
    """Else one publisher would fill the member's window, and everybody else wait for it to open."""
    _, gate, flooder = flooded()
    gate.resume()
    taken = gate.messages()
    flooder.publish("t/flood", "too much")
    assert len(taken) == SHARE and gate.messages() == []
    gate.ack(taken[0])
    flooder.publish("t/flood", "again")
    flooder.publish("t/flood", "too much")
    assert gate.payloads() == ["again"]


def test_a_publisher_is_answered_and_alive_while_it_loses() -> None:
    """It is told what is refused, and read on but for a moment each time, so its goodbye counts."""
    _, gate, flooder = flooded()
    assert [answer.reason for answer in flooder.take() if isinstance(answer, Puback)] == (
        [Reason.SUCCESS] * SHARE + [Reason.QUOTA_EXCEEDED] * 6
    )
    assert flooder.rests == 6
    flooder.leave()
    gate.resume()
    assert flooder.closed and len(gate.messages()) == SHARE


def test_of_qos_0_a_publisher_may_send_its_share_a_second() -> None:
    """None tells when it is taken: unhindered it would fill the buffers on the way, and those behind it wait."""
    desk = Desk(Limits(share_messages=SHARE))
    gate = desk.joined("gate", keep_alive_s=600)
    gate.subscribe(SHARED)
    flooder, honest = desk.joined("flooder", keep_alive_s=600), desk.joined("honest")
    for second in range(3):
        for _ in range(10):
            flooder.publish("t/x", "flood", qos=0)
        honest.publish("t/x", "beat", qos=0)
        assert gate.payloads() == ["flood"] * SHARE + ["beat"]
        assert flooder.rests == (second + 1) * 6 and honest.rests == 0
        desk.wait(1)


@pytest.mark.parametrize("qos", [0, 1])
def test_who_is_not_bounded_is_not(qos: int) -> None:
    """The control plane itself may say what it likes."""
    desk = Desk(Limits(share_messages=SHARE), bounded=lambda client: client != "control:tool")
    gate = desk.joined("gate", receive_maximum=100)
    gate.subscribe(SHARED)
    tool = desk.joined("control:tool")
    for number in range(20):
        tool.publish("t/x", str(number), qos=qos)
    assert len(gate.messages()) == 20 and tool.rests == 0


@pytest.mark.parametrize("size", [100, 5000])
def test_a_share_is_bounded_in_bytes_too(size: int) -> None:
    """But for one message, which may always wait, or a large one would never come through."""
    desk = Desk(Limits(share_bytes=3000))
    gate = desk.joined("gate")
    gate.subscribe(SHARED)
    other = desk.joined("box")
    for _ in range(10):
        other.publish("t/x", "x" * size)
    assert len(gate.messages()) == (5 if size == 100 else 1)


def test_who_publishes_to_subscriptions_of_their_own_has_no_share_to_fill() -> None:
    """The control plane tells each box what it must; a box's own queue bounds that."""
    desk = Desk(Limits(share_messages=SHARE))
    box = desk.joined("box", expiry_s=100)
    box.subscribe("dn/#")
    box.vanish()
    control = desk.joined("control:publisher")
    for number in range(20):
        control.publish("dn/task", str(number))
    assert len(desk.joined("box", clean=False).payloads()) == 20


def test_a_group_that_takes_nothing_costs_a_publisher_nothing_elsewhere() -> None:
    """A box that shares its own topic with itself and acknowledges nothing does not hold up who publishes to all."""
    desk = Desk(Limits(share_messages=SHARE))
    hostile, gate = desk.joined("hostile"), desk.joined("gate")
    hostile.subscribe("$share/mine/dn/hostile")
    gate.subscribe("$share/g/dn/honest")
    control = desk.joined("control:publisher")
    for _ in range(10):
        control.publish("dn/hostile")
    control.publish("dn/honest", "task")
    assert gate.payloads() == ["task"]


@pytest.mark.parametrize("connected", [True, False])
def test_who_is_expelled_leaves_nothing_behind_but_its_will(connected: bool) -> None:
    """What waits of it is let go, whether or not it is still there; what waits of others stays."""
    desk = Desk(Limits(share_messages=SHARE))
    gate = desk.joined("gate", expiry_s=100)
    gate.subscribe(SHARED)
    gate.vanish()
    flooder = desk.joined("flooder", will=Will("t/flood", b"will", 1) if connected else None)
    honest = desk.joined("honest")
    for number in range(SHARE):
        flooder.publish("t/flood", str(number))
        honest.publish("t/hello", f"hello {number}")
    if not connected:
        flooder.leave()
    desk.exchange.expel("flooder", desk.now)
    desk.settle()
    left = [f"hello {number}" for number in range(SHARE)] + ["will"] * connected
    assert desk.joined("gate", clean=False).payloads() == left


class Play:
    """Two boxes that publish, and two members: one takes what it gets now and then, the other goes with what it has."""

    def __init__(self) -> None:
        self.desk = Desk(Limits(share_messages=SHARE, stall_s=1e9))
        self.boxes = {name: self.desk.joined(name, keep_alive_s=600) for name in "ab"}
        self.stays, self.goes = self.desk.joined("stays", expiry_s=10**6), self.desk.joined("goes")
        self.stays.subscribe(SHARED)
        self.goes.subscribe(SHARED)
        self.there = True
        self.flying: list[Publish] = []

    def a(self) -> None:
        """Publish."""
        self.boxes["a"].publish("t/x", "a")

    def b(self) -> None:
        """Publish as another."""
        self.boxes["b"].publish("t/x", "b")

    def zero(self) -> None:
        """Publish what need not be acknowledged."""
        self.boxes["a"].publish("t/x", "a", qos=0)

    def acknowledge(self) -> None:
        """Take the oldest."""
        if self.there and self.flying:
            self.stays.ack(self.flying.pop(0))

    def stall(self) -> None:
        """Read no more."""
        if self.there:
            self.stays.stall()

    def resume(self) -> None:
        """Read again."""
        if self.there:
            self.stays.resume()

    def vanish(self) -> None:
        """Lose the connection."""
        if self.there:
            self.stays.vanish()
            self.there = False

    def come_back(self) -> None:
        """Connect again: what was not acknowledged comes again."""
        if not self.there:
            self.stays, self.there = self.desk.joined("stays", clean=False, expiry_s=10**6), True
            self.flying.clear()

    def die(self) -> None:
        """Let the other member go for good."""
        if not self.goes.closed:
            self.goes.leave()

    def expel(self) -> None:
        """Shut a box out, and let it in again."""
        self.desk.exchange.expel("a", self.desk.now)
        self.boxes["a"] = self.desk.joined("a", keep_alive_s=600)

    def read(self) -> None:
        """Read what has come."""
        self.flying += [message for message in self.stays.messages() if message.qos]


@given(
    st.lists(
        st.sampled_from(
            [
                Play.a, Play.a, Play.b, Play.zero, Play.acknowledge, Play.stall,
                Play.resume, Play.vanish, Play.come_back, Play.die, Play.expel,
            ]
        ),
        max_size=60,
    )
)  # fmt: skip
def test_shares_add_up(steps: list[Callable[[Play], None]]) -> None:
    """Whatever happens, none has more than its share on the way, and all of it once everything was taken."""
    play = Play()
    for step in (*steps, Play.die, Play.come_back, Play.resume):
        step(play)
        play.read()
        assert all(sum(message.payload == sender for message in play.flying) <= SHARE for sender in (b"a", b"b"))
    while play.flying:
        play.acknowledge()
        play.read()
    assert play.desk.exchange.queued_bytes == 0
    for name, box in play.boxes.items():
        for _ in range(SHARE + 1):
            box.publish("t/x", name)
        assert play.stays.payloads() == [name] * SHARE
