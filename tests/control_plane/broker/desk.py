"""An exchange in virtual time, with peers that are played by hand."""

from collections.abc import Iterator
from itertools import count, cycle

from headwater_control.edges.broker.exchange import Close, Exchange, Rest, Write
from headwater_control.edges.broker.framing import Decoder
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.link import LinkId
from headwater_control.edges.broker.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Will,
)
from headwater_control.edges.broker.properties import ConnectProperties, PublishProperties, SubscribeProperties
from headwater_control.edges.broker.terms import Authenticate, Authorize, Bounded, allow_all, bound_all, welcome_all

from tests.control_plane.broker.stream import drain


class Peer:
    """One client's connection."""

    def __init__(self, desk: "Desk", link: LinkId) -> None:
        self._desk = desk
        self.link = link
        self.inbox: list[Packet] = []
        self.decoder = Decoder(1 << 28)
        self.closed = False
        self.aborted = False
        self.rests = 0  # how often it was not to be read for a moment
        self.bytes = 0
        self._ids = cycle(range(1, 65_536))

    def send(self, *packets: Packet) -> None:
        """Send packets, in one piece."""
        self._desk.exchange.received(self.link, packets, self._desk.now)
        self._desk.settle()

    def take(self) -> list[Packet]:
        """Hand over what has come since the last time."""
        found, self.inbox = self.inbox, []
        return found

    def messages(self) -> list[Publish]:
        """Hand over the messages among it."""
        return [packet for packet in self.take() if isinstance(packet, Publish)]

    def payloads(self) -> list[str]:
        """Hand over the messages' payloads."""
        return [message.payload.decode() for message in self.messages()]

    def ack(self, *messages: Publish) -> None:
        """Acknowledge."""
        self.send(*(Puback(message.packet_id) for message in messages))

    def subscribe(
        self, *filters: str, qos: int = 1, subscription_id: int | None = None, no_local: bool = False
    ) -> tuple[int, ...]:
        """Subscribe, and give the reasons."""
        wanted = tuple(Subscription(text, qos, no_local) for text in filters)
        self.send(Subscribe(next(self._ids), wanted, SubscribeProperties(subscription_id)))
        (answer,) = [packet for packet in self.inbox if isinstance(packet, Suback)]
        self.inbox.remove(answer)
        return answer.reasons

    def publish(self, topic: str, payload: str = "", qos: int = 1, **properties: object) -> None:
        """Publish."""
        made = PublishProperties(**properties)  # type: ignore[arg-type]
        self.send(Publish(topic, payload.encode(), qos, next(self._ids) if qos else 0, properties=made))

    def vanish(self) -> None:
        """Lose the network."""
        self._desk.exchange.closed(self.link, self._desk.now)
        self._desk.settle()

    def leave(self, reason: int = 0) -> None:
        """Disconnect."""
        self.send(Disconnect(reason))

    def stall(self) -> None:
        """Stop reading."""
        self._desk.exchange.paused(self.link, self._desk.now)
        self._desk.settle()

    def resume(self) -> None:
        """Read again."""
        self._desk.exchange.resumed(self.link, self._desk.now)
        self._desk.settle()

    @property
    def ending(self) -> int | None:
        """Tell the reason of the DISCONNECT it got last."""
        reasons = [packet.reason for packet in self.inbox if isinstance(packet, Disconnect)]
        return reasons[-1] if reasons else None


class Desk:
    """The exchange, its clock and its peers."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        authorize: Authorize = allow_all,
        authenticate: Authenticate = welcome_all,
        bounded: Bounded = bound_all,
    ) -> None:
        self.now = 1000.0
        ids = count(1)
        self.exchange = Exchange(
            limits or Limits(),
            authorize=authorize,
            authenticate=authenticate,
            bounded=bounded,
            new_id=lambda: f"new-{next(ids)}",
        )
        self._peers: dict[LinkId, Peer] = {}

    def open(self) -> Peer:
        """Open a connection that says nothing yet."""
        peer = Peer(self, self.exchange.opened("127.0.0.1:1", self.now))
        self._peers[peer.link] = peer
        self.settle()
        return peer

    def connect(
        self,
        client_id: str = "",
        *,
        clean: bool = True,
        expiry_s: int | None = None,
        receive_maximum: int | None = None,
        maximum_packet_bytes: int | None = None,
        keep_alive_s: int = 0,
        will: Will | None = None,
        username: str | None = None,
        password: bytes | None = None,
    ) -> Peer:
        """Open a connection and introduce a client; its inbox begins with CONNACK."""
        peer = self.open()
        asked = ConnectProperties(
            session_expiry_s=expiry_s, receive_maximum=receive_maximum, maximum_packet_bytes=maximum_packet_bytes
        )
        peer.send(Connect(client_id, clean, keep_alive_s, will, username, password, asked))
        return peer

    def joined(self, client_id: str, **asked: object) -> Peer:
        """Do the same, and take the CONNACK out."""
        peer = self.connect(client_id, **asked)  # type: ignore[arg-type]
        welcome = peer.inbox.pop(0)
        assert isinstance(welcome, Connack) and welcome.reason == 0, welcome
        return peer

    def wait(self, seconds: float) -> None:
        """Let time pass, stopping wherever the exchange asked to be woken."""
        end = self.now + seconds
        for _ in self._wakings(end):
            self.exchange.advance(self.now)
            self.settle()
        self.now = end
        self.exchange.advance(end)
        self.settle()

    def settle(self) -> None:
        """Carry out commands until there are none."""
        while commands := self.exchange.take(self.now):
            for command in commands:
                peer = self._peers[command.link]
                match command:
                    case Write(_, data):
                        peer.bytes += len(data)
                        peer.decoder.feed(data)
                        peer.inbox += drain(peer.decoder)
                    case Rest():
                        peer.rests += 1
                    case Close(_, at_once):
                        peer.closed, peer.aborted = True, at_once

    def _wakings(self, end: float) -> Iterator[float]:
        while (at := self.exchange.next_at()) is not None and at <= end:
            self.now = max(self.now, at)
            yield self.now
