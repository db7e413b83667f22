"""The broker's exchange in virtual time: whatever several clients say, nothing but `BadPacket` comes out of it.

Its limits hold at every step, all that it writes is MQTT, and once everybody is gone it holds nothing any more.
"""

import random
from collections.abc import Iterator
from itertools import count

from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.exchange import Close, Exchange, Write
from headwater_control.edges.broker.framing import Decoder
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.link import LinkId
from headwater_control.edges.broker.packets import Packet
from headwater_control.edges.broker.reasons import BadPacket
from headwater_control.edges.broker.terms import allow_all, bound_all, welcome_all

from tests.fuzzing.packets import Packets, mutate
from tests.fuzzing.talk import Talk

_LINKS = 5
_LIMITS = Limits(
    connections=4, sessions=6, packet_bytes=1024, receive_maximum=4, send_window=3, send_window_bytes=6000,
    queue_messages=8, queue_bytes=6000, shared_queue_messages=12, shared_queue_bytes=9000, queued_bytes=4000,
    share_messages=6, share_bytes=3000,
    subscriptions=5, topic_levels=4, client_id_bytes=16, session_expiry_s=600, keep_alive_s=60, burst_bytes=600,
)  # fmt: skip
_CONNECT, _LOSE, _PAUSE, _RESUME, _WAIT, _EXPEL, _SAY = range(7)
_TICKS_A_SECOND = 61  # no power of two: a real clock's seconds are no round numbers either
_CLIENTS = ("a", "b", "c", "")


class Conversations:
    """An input is a list of steps: what (1 byte), on which link (1), the length (2) of what is said, and that."""

    def make(self, source: random.Random) -> bytes:
        """Make what a few clients do, most of which is sensible."""
        packets, talk = Packets(source), Talk(source)
        steps: list[bytes] = []
        for _ in range(source.randint(4, 40)):
            link = source.randrange(_LINKS)
            draw = source.random()
            if draw < 0.12:
                steps.append(_step(_CONNECT, link, encode(talk.connect())))
            elif draw < 0.30:
                what = source.choice((_LOSE, _PAUSE, _PAUSE, _RESUME, _RESUME, _WAIT, _WAIT, _EXPEL))
                steps.append(_step(what, link, source.randbytes(2)))
            elif draw < 0.90:
                steps.append(
                    _step(_SAY, link, b"".join(encode(talk.say()) for _ in range(source.choice((1, 1, 2, 6)))))
                )
            elif draw < 0.96:
                steps.append(_step(_SAY, link, encode(packets.make())))
            else:
                steps.append(_step(_SAY, link, mutate(encode(talk.say()), source)))
        return b"".join(steps)

    def check(self, data: bytes) -> str:
        """Play it."""
        stage = _Stage()
        for what, link, said in _steps(data):
            stage.play(what, link, said)
        return stage.end()


class _Stage:
    """An exchange, its clock, and those who speak with it."""

    def __init__(self) -> None:
        numbers = count(1)
        self._exchange = Exchange(
            _LIMITS,
            authorize=allow_all,
            authenticate=welcome_all,
            bounded=bound_all,
            new_id=lambda: f"new-{next(numbers)}",
        )
        self._now = 1000.7
        self._links: dict[int, LinkId] = {}
        self._readers: dict[LinkId, Decoder] = {}
        self._writers: dict[LinkId, Decoder] = {}
        self._paused: set[LinkId] = set()
        self._refused = False

    def play(self, what: int, number: int, said: bytes) -> None:
        """Do one step, let the exchange do what follows, and look at it."""
        link = self._links.get(number)
        if what == _CONNECT and link is None:
            link = self._links[number] = self._exchange.opened(f"peer-{number}", self._now)
            self._readers[link], self._writers[link] = Decoder(_LIMITS.packet_bytes), Decoder(1 << 20)
        if what == _WAIT:
            self._now += int.from_bytes(said, "big") / _TICKS_A_SECOND
            self._exchange.advance(self._now)
        elif what == _EXPEL:
            self._exchange.expel(_CLIENTS[number % len(_CLIENTS)], self._now)
        elif link is not None and what == _LOSE:
            self._exchange.closed(link, self._now)
            self._gone(link)
        elif link is not None and what == _PAUSE:
            self._paused.add(link)
            self._exchange.paused(link, self._now)
        elif link is not None and what == _RESUME and link in self._paused:
            self._paused.remove(link)
            self._exchange.resumed(link, self._now)
        elif link is not None and link not in self._paused:  # who does not take anything is not read either
            self._say(link, said)
        self._settle()

    def end(self) -> str:
        """Let everybody go and every session expire; say how it went."""
        for link in tuple(self._readers):
            self._exchange.closed(link, self._now)
            self._gone(link)
        self._settle()
        while (at := self._exchange.next_at()) is not None:
            self._now = max(self._now, at)
            self._exchange.advance(self._now)
            self._settle()
        left = (self._exchange.sessions, self._exchange.connections, self._exchange.queued_bytes)
        if left != (0, 0, 0):
            raise AssertionError(f"{left} sessions, connections and bytes are left though all are gone")
        return "with violations" if self._refused else "without violations"

    def _say(self, link: LinkId, said: bytes) -> None:
        reader, packets = self._readers[link], list[Packet]()
        reader.feed(said)
        try:
            while (packet := reader.next()) is not None:
                packets.append(packet)
        except BadPacket as bad:
            self._refused = True
            self._exchange.received(link, packets, self._now)
            connecting = reader.first is not None and reader.first >> 4 == 1
            self._exchange.violated(link, bad, self._now, connecting=connecting)
        else:
            self._exchange.received(link, packets, self._now)

    def _settle(self) -> None:
        while commands := self._exchange.take(self._now):
            for command in commands:
                match command:
                    case Write(link, written) if link in self._writers:
                        self._writers[link].feed(written)
                        while self._writers[link].next() is not None:
                            pass
                    case Close(link):
                        self._gone(link)
        self._exchange.tally.take_remarks()
        exchange, limits = self._exchange, _LIMITS
        if exchange.sessions > limits.sessions or exchange.connections > limits.connections:
            raise AssertionError(f"{exchange.sessions} sessions of {exchange.connections} connections are too many")
        if not 0 <= exchange.queued_bytes <= limits.queued_bytes:
            raise AssertionError(f"{exchange.queued_bytes} bytes are queued; {limits.queued_bytes} is the limit")

    def _gone(self, link: LinkId) -> None:
        self._links = {number: known for number, known in self._links.items() if known != link}
        self._readers.pop(link, None)
        self._writers.pop(link, None)
        self._paused.discard(link)


def _step(what: int, link: int, said: bytes) -> bytes:
    return bytes((what, link)) + len(said).to_bytes(2, "big") + said


def _steps(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at], data[at + 1], data[at + 4 : end]
        at = end
