"""The broker as a state machine: packets of many connections in, bytes for many connections out, no socket or clock.

Every call takes the time. Each may lead to commands, which `take` hands over; call it until it has none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from headwater_control.edges.broker.alarms import Alarms
from headwater_control.edges.broker.dialogue import Dialogue
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.link import Link, LinkId
from headwater_control.edges.broker.mailbox import Budget
from headwater_control.edges.broker.packets import Connack, Connect, Disconnect, Packet, Publish
from headwater_control.edges.broker.reasons import CONNACK_REASONS, DISCONNECT_REASONS, BadPacket, Reason
from headwater_control.edges.broker.roster import Roster
from headwater_control.edges.broker.router import Router
from headwater_control.edges.broker.session import Session
from headwater_control.edges.broker.tally import Tally
from headwater_control.edges.broker.terms import Authenticate, Authorize, Bounded, Credentials, negotiate

_KEEP_ALIVE_FACTOR = 1.5  # [MQTT-3.1.2-22]


@dataclass(frozen=True, slots=True)
class Write:
    """Send these bytes."""

    link: LinkId
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, after what was written; `at_once` if the peer doesn't read anyway."""

    link: LinkId
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """Read nothing from the connection for so long: it sends more than is taken. Its deadlines run on."""

    link: LinkId
    seconds: float


class Wait(Enum):
    """What a connection has a deadline for."""

    CONNECT = auto()
    KEEP_ALIVE = auto()
    STALL = auto()


class Exchange:
    """All connections, sessions and subscriptions of one broker."""

    def __init__(
        self,
        limits: Limits,
        *,
        authorize: Authorize,
        authenticate: Authenticate,
        bounded: Bounded,
        new_id: Callable[[], str],
    ) -> None:
        self.tally = Tally()
        self._limits = limits
        self._authorize = authorize
        self._authenticate = authenticate
        self._new_id = new_id
        self._budget = Budget(limits.queued_bytes)
        self._router = Router(limits, self._budget, self.tally, bounded)
        self._roster = Roster(limits, self._router, self._budget, self.tally, self._may_publish)
        self._dialogue = Dialogue(limits, self._router, self.tally, authorize)
        self._links: dict[LinkId, Link] = {}
        self._dirty: dict[LinkId, Link] = {}
        self._full: list[Link] = []  # of which more may be waiting for what was handed over to be written
        self._alarms: Alarms[tuple[LinkId, Wait]] = Alarms()
        self._last_link = 0

    # ── what happened ──────────────────────────────────────────────────────────────────────────────────────────

    def opened(self, peer: str, now: float, certificate: bytes = b"") -> LinkId:
        """Take in a new connection, from `peer`, whose verified certificate (DER) is empty without TLS."""
        self._last_link += 1
        link = Link(LinkId(self._last_link), peer, certificate, self._limits.burst_bytes, self._dirty, self.tally)
        self._links[link.id] = link
        if len(self._links) > self._limits.connections:
            self.tally.remark(peer, f"refused: there are {self._limits.connections} connections already")
            self._drop(link, now)
        else:
            self._alarms.set((link.id, Wait.CONNECT), now + self._limits.connect_s)
        return link.id

    def received(self, number: LinkId, packets: Sequence[Packet], now: float) -> None:
        """Handle what was read from a connection in one piece."""
        link = self._links.get(number)
        if link is None or not packets:
            return
        # All were sent before any of them was acknowledged: more than we allowed are a violation.
        unacknowledged = 0
        for packet in packets:
            self.tally.packets_in += 1
            if isinstance(packet, Publish) and packet.qos:
                unacknowledged += 1
            try:
                if unacknowledged > self._limits.receive_maximum:
                    raise BadPacket(Reason.RECEIVE_MAXIMUM_EXCEEDED, "more unacknowledged messages than we announced")
                self._handle(link, packet, now)
            except BadPacket as bad:
                self._violated(link, bad, now, connecting=isinstance(packet, Connect))
            if link.closing:
                return
        if link.keep_alive_s and not link.paused:
            self._alarms.set((link.id, Wait.KEEP_ALIVE), now + _KEEP_ALIVE_FACTOR * link.keep_alive_s)

    def violated(self, number: LinkId, bad: BadPacket, now: float, *, connecting: bool) -> None:
        """Handle bytes that are no packet; `connecting` if they began as a CONNECT."""
        link = self._links.get(number)
        if link is not None:
            self._violated(link, bad, now, connecting=connecting)

    def paused(self, number: LinkId, now: float) -> None:
        """Note that a connection takes no more at present: it must before long, and isn't read meanwhile."""
        link = self._links.get(number)
        if link is not None:
            link.paused = True
            self._alarms.cancel((link.id, Wait.KEEP_ALIVE))
            self._alarms.set((link.id, Wait.STALL), now + self._limits.stall_s)

    def resumed(self, number: LinkId, now: float) -> None:
        """Note that it does again."""
        link = self._links.get(number)
        if link is None:
            return
        link.paused = False
        self._alarms.cancel((link.id, Wait.STALL))
        if link.keep_alive_s:
            self._alarms.set((link.id, Wait.KEEP_ALIVE), now + _KEEP_ALIVE_FACTOR * link.keep_alive_s)
        if (session := self._session(link)) is not None:
            self._router.serve(session, now)

    def closed(self, number: LinkId, now: float) -> None:
        """Note that a connection is gone, for whatever reason."""
        link = self._links.get(number)
        if link is not None:
            link.closing = True
            self._forget(link, now)

    def advance(self, now: float) -> None:
        """Do what is due: deadlines of connections, wills, ends of sessions."""
        for number, wait in self._alarms.due(now):
            link = self._links.get(number)
            if link is None:
                continue
            match wait:
                case Wait.CONNECT:
                    self._drop(link, now)
                case Wait.KEEP_ALIVE:
                    self._hang_up(link, Reason.KEEP_ALIVE_TIMEOUT, now)
                case Wait.STALL:
                    self.tally.stalled += 1
                    self.tally.remark(self._name(link), "closed: it does not read what it is sent")
                    self._drop(link, now)
        self._roster.advance(now)

    def expel(self, client_id: str, now: float) -> None:
        """End a client's connection and its session, whose will is published, and let go what it left waiting."""
        self._router.forget_sender(client_id)
        session = self._roster.get(client_id)
        if session is None:
            return
        session.expiry_s = 0
        if (link := session.link) is None:
            self._roster.lost(session, now)
        else:
            self.tally.remark(client_id, "disconnected: it may not be here any more")
            self._hang_up(link, Reason.NOT_AUTHORIZED, now)

    def shut_down(self, now: float) -> None:
        """Tell every client that the server goes. Sessions go with it, so no will is published."""
        for link in tuple(self._links.values()):
            if link.client_id is not None:
                link.send(Disconnect(Reason.SERVER_SHUTTING_DOWN))
            link.close()
        self._links.clear()

    # ── what follows ───────────────────────────────────────────────────────────────────────────────────────────

    def take(self, now: float) -> list[Write | Rest | Close]:
        """Hand over what to do. Who kept up with what was handed over the last time gets more."""
        for link in self._full:
            if link.open and (session := self._session(link)) is not None:
                self._router.serve(session, now)
        dirty = list(self._dirty.values())
        self._dirty.clear()
        self._full = [link for link in dirty if link.full]
        commands: list[Write | Rest | Close] = []
        for link in dirty:
            if data := link.take():
                commands.append(Write(link.id, data))
            if link.resting:
                commands.append(Rest(link.id, self._limits.rest_s))
                link.resting = False
            if link.closing:
                commands.append(Close(link.id, at_once=link.paused))
        return commands

    def next_at(self) -> float | None:
        """Tell when `advance` has something to do at the earliest."""
        return min((at for at in (self._alarms.next_at(), self._roster.next_at()) if at is not None), default=None)

    @property
    def connections(self) -> int:
        """Count the open ones."""
        return len(self._links)

    @property
    def queued_bytes(self) -> int:
        """Tell how much memory waiting and unacknowledged messages take."""
        return self._budget.used_bytes

    @property
    def sessions(self) -> int:
        """Count those of connected and of absent clients."""
        return len(self._roster)

    # ── packets ────────────────────────────────────────────────────────────────────────────────────────────────

    def _handle(self, link: Link, packet: Packet, now: float) -> None:
        session = self._session(link)
        if session is None:
            if not isinstance(packet, Connect):
                raise BadPacket(Reason.PROTOCOL_ERROR, f"the first packet is {type(packet).__name__}, not Connect")
            self._connect(link, packet, now)
            return
        self._dialogue.handle(link, session, packet, now)
        if isinstance(packet, Disconnect):
            self._drop(link, now)

    def _connect(self, link: Link, connect: Connect, now: float) -> None:
        terms = negotiate(connect, self._limits, self._new_id)
        if isinstance(terms, Reason):
            self._turn_away(link, terms, now, f"CONNECT of {connect.client_id[:80]!r}")
            return
        client_id = terms.client_id
        who = f"CONNECT of {client_id[:80]!r}"
        who_it_is = Credentials(client_id, connect.username, connect.password, link.peer, link.certificate)
        if not self._authenticate(who_it_is):
            unproven = Reason.NOT_AUTHORIZED if link.certificate else Reason.BAD_USER_OR_PASSWORD
            self._turn_away(link, unproven, now, who)
        elif connect.will is not None and not self._may_publish(client_id, connect.will.topic):
            self._turn_away(link, Reason.NOT_AUTHORIZED, now, who)
        elif self._roster.full(client_id):
            self._turn_away(link, Reason.QUOTA_EXCEEDED, now, who)
        else:
            former = self._roster.get(client_id)
            if former is not None and former.link is not None:
                self.tally.remark(client_id, f"taken over by a connection from {link.peer}")
                self._hang_up(former.link, Reason.SESSION_TAKEN_OVER, now)
            self._alarms.cancel((link.id, Wait.CONNECT))
            link.client_id = client_id
            link.keep_alive_s = terms.keep_alive_s
            link.maximum_packet_bytes = terms.maximum_packet_bytes
            self._roster.admit(link, terms, connect.will, now, clean_start=connect.clean_start)

    # ── ends ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _violated(self, link: Link, bad: BadPacket, now: float, *, connecting: bool) -> None:
        self.tally.malformed += 1
        if link.client_id is not None:
            reason = bad.reason if bad.reason in DISCONNECT_REASONS else Reason.PROTOCOL_ERROR
            self.tally.remark(self._name(link), f"disconnected: {bad}")
            self._hang_up(link, reason, now)
        elif connecting:
            self._turn_away(
                link, bad.reason if bad.reason in CONNACK_REASONS else Reason.MALFORMED_PACKET, now, bad.what
            )
        else:  # nothing may be sent to who has not introduced itself
            self.tally.remark(self._name(link), f"closed: {bad}")
            self._drop(link, now)

    def _turn_away(self, link: Link, reason: Reason, now: float, what: str) -> None:
        self.tally.remark(self._name(link), f"refused: {what} (0x{reason:02X} {reason.name.lower()})")
        link.send(Connack(reason))
        self._drop(link, now)

    def _hang_up(self, link: Link, reason: Reason, now: float) -> None:
        link.send(Disconnect(reason))
        self._drop(link, now)

    def _drop(self, link: Link, now: float) -> None:
        link.close()
        self._forget(link, now)

    def _forget(self, link: Link, now: float) -> None:
        session = self._session(link)
        del self._links[link.id]
        for wait in Wait:
            self._alarms.cancel((link.id, wait))
        if session is not None:
            self._roster.lost(session, now)

    def _session(self, link: Link) -> Session | None:
        session = None if link.client_id is None else self._roster.get(link.client_id)
        return session if session is not None and session.link is link else None

    def _may_publish(self, client_id: str, topic: str) -> bool:
        return self._authorize(client_id, "publish", topic)

    @staticmethod
    def _name(link: Link) -> str:
        return link.client_id or link.peer
