"""At-least-once delivery, in order, under any interleaving of publishing, acknowledging, losing and resuming."""

from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.packets import Publish
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.control_plane.broker.desk import Desk, Peer

NAMES = st.sampled_from(["plain", "lasting", "passing"])
SHARED = "$share/g/t"


class Client:
    """A client that remembers what it saw."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.peer: Peer | None = None
        self.receive_maximum = 0
        self.flying: list[Publish] = []  # seen on this connection and not acknowledged
        self.before: dict[int, bytes] = {}  # seen on earlier ones and not acknowledged, by packet id
        self.seen: list[bytes] = []  # first deliveries
        self.acknowledged: list[bytes] = []

    def read(self) -> None:
        """Take in what has come, and check it against what is known."""
        assert self.peer is not None
        for message in self.peer.messages():
            if message.dup:
                assert self.before.pop(message.packet_id) == message.payload, "DUP on what was not sent before"
            else:
                assert message.packet_id not in self.before, "an identifier in use was given again"
                self.seen.append(message.payload)
            assert all(message.packet_id != other.packet_id for other in self.flying)
            self.flying.append(message)
        assert len(self.flying) <= self.receive_maximum

    def acknowledge(self, at: int) -> None:
        """Acknowledge one of those in flight."""
        assert self.peer is not None
        message = self.flying.pop(at % len(self.flying))
        self.acknowledged.append(message.payload)
        self.peer.ack(message)


class Delivery(RuleBasedStateMachine):
    """`plain` has a subscription of its own; `lasting` and `passing` share one, and passing's session dies with it."""

    @initialize(burst=st.sampled_from([1, 60, 65_536]))
    def begin(self, burst: int) -> None:
        """Everyone is there and subscribed."""
        self.desk = Desk(Limits(burst_bytes=burst, stall_s=1e9, share_messages=1000))
        self.clients = {name: Client(name) for name in ("plain", "lasting", "passing")}
        self.stalled: set[str] = set()
        self.published: list[bytes] = []
        self.publisher = self.desk.joined("publisher")
        for name in self.clients:
            self._connect(name, 5)

    def _connect(self, name: str, receive_maximum: int) -> None:
        client = self.clients[name]
        client.receive_maximum = receive_maximum
        expiry_s = 0 if name == "passing" else 10**6
        client.peer = self.desk.connect(name, clean=False, expiry_s=expiry_s, receive_maximum=receive_maximum)
        client.peer.inbox.pop(0)
        subscribed = client.peer
        backlog = list(subscribed.inbox)
        subscribed.inbox.clear()
        if name == "passing":
            client.before.clear()
        if name == "passing" or not client.seen:
            subscribed.subscribe("t" if name == "plain" else SHARED)
        subscribed.inbox[:0] = backlog

    def _online(self, name: str) -> bool:
        return self.clients[name].peer is not None

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        """Publish a few."""
        for _ in range(count):
            payload = f"{len(self.published)}"
            self.published.append(payload.encode())
            self.publisher.publish("t", payload)

    @rule(name=NAMES, at=st.integers(0, 9))
    def acknowledge(self, name: str, at: int) -> None:
        """Acknowledge any one, in any order."""
        client = self.clients[name]
        if client.peer is not None:
            client.read()
            if client.flying:
                client.acknowledge(at)

    @rule(name=NAMES)
    def vanish(self, name: str) -> None:
        """Lose the network; what was sent just before is read or lost with it."""
        client = self.clients[name]
        if client.peer is not None:
            client.read()
            client.peer.vanish()
            client.peer = None
            self.stalled.discard(name)
            client.before |= {message.packet_id: message.payload for message in client.flying}
            client.flying.clear()

    @rule(name=NAMES, receive_maximum=st.integers(1, 4))
    def come_back(self, name: str, receive_maximum: int) -> None:
        """Connect again."""
        if not self._online(name):
            self._connect(name, receive_maximum)

    @rule(name=NAMES)
    def stall_or_resume(self, name: str) -> None:
        """Stop reading, or begin again."""
        client = self.clients[name]
        if client.peer is None:
            return
        if name in self.stalled:
            self.stalled.discard(name)
            client.peer.resume()
        else:
            self.stalled.add(name)
            client.peer.stall()

    @rule(seconds=st.integers(0, 50))
    def time_passes(self, seconds: int) -> None:
        """Nobody's session expires by that, and no keep alive runs out."""
        self.desk.wait(seconds / 1000)

    @invariant()
    @precondition(lambda self: hasattr(self, "clients"))
    def order_holds(self) -> None:
        """Each client sees messages in the order of their publication, and its own subscription without a gap."""
        for client in self.clients.values():
            if client.peer is not None:
                client.read()
        plain = self.clients["plain"].seen
        assert plain == self.published[: len(plain)]
        for name in ("lasting", "passing"):
            acknowledged = self.clients[name].acknowledged
            assert len(acknowledged) == len(set(acknowledged))

    def teardown(self) -> None:
        """In the end, with everyone there and acknowledging, everything has arrived."""
        if not hasattr(self, "clients"):
            return
        for name, client in self.clients.items():
            if client.peer is None:
                self._connect(name, 3)
            elif name in self.stalled:
                client.peer.resume()
        busy = True
        while busy:
            busy = False
            for client in self.clients.values():
                client.read()
                while client.flying:
                    busy = True
                    client.acknowledge(0)
                    client.read()
        assert self.clients["plain"].seen == self.published
        assert sorted(self.clients["plain"].acknowledged) == sorted(self.published)
        group = self.clients["lasting"].acknowledged + self.clients["passing"].acknowledged
        assert sorted(group) == sorted(self.published), "each exactly once, as nothing was acknowledged and lost"
        assert self.desk.exchange.queued_bytes == 0


Delivery.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDelivery = Delivery.TestCase
