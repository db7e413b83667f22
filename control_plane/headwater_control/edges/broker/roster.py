"""The sessions there are, how long each lasts, and the wills of those whose client is gone (sections 3.1.2.5, 4.1)."""

from collections.abc import Callable
from dataclasses import replace

from headwater_control.edges.broker.alarms import Alarms
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.link import Link
from headwater_control.edges.broker.mailbox import Budget
from headwater_control.edges.broker.message import Message
from headwater_control.edges.broker.packets import Connack, Will
from headwater_control.edges.broker.router import Router
from headwater_control.edges.broker.session import Session
from headwater_control.edges.broker.tally import Tally
from headwater_control.edges.broker.terms import Terms

MayPublish = Callable[[str, str], bool]  # (client id, topic)


class Roster:
    """At most one session a client id. An absent client's ends when its expiry interval is over."""

    def __init__(self, limits: Limits, router: Router, budget: Budget, tally: Tally, may_publish: MayPublish) -> None:
        self._limits = limits
        self._router = router
        self._budget = budget
        self._tally = tally
        self._may_publish = may_publish
        self._sessions: dict[str, Session] = {}
        self._expiries: Alarms[str] = Alarms()
        self._wills: Alarms[str] = Alarms()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, client_id: str) -> Session | None:
        """Find a session."""
        return self._sessions.get(client_id)

    def full(self, client_id: str) -> bool:
        """Say whether there is no room for this client."""
        return client_id not in self._sessions and len(self._sessions) >= self._limits.sessions

    def admit(self, link: Link, terms: Terms, will: Will | None, now: float, *, clean_start: bool) -> Session:
        """Give an accepted client its session, the one it had unless it wants to start clean, and welcome it."""
        session = self._sessions.get(terms.client_id)
        if session is not None and clean_start:
            self._end(session, now)
            session = None
        present = session is not None
        if session is None:
            session = Session(terms.client_id, self._limits, self._budget, self._tally)
            self._sessions[terms.client_id] = session
        self._expiries.cancel(terms.client_id)
        self._wills.cancel(terms.client_id)  # it came back in time [MQTT-3.1.3-9]
        session.expiry_s = terms.session_expiry_s
        session.will = will
        link.send(Connack(0, present, terms.offered))
        session.attach(link, terms.receive_maximum)
        self._router.serve(session, now)
        return session

    def lost(self, session: Session, now: float) -> None:
        """Note that a session's connection is gone."""
        session.detach()
        if not session.expiry_s:
            self._end(session, now)
            return
        self._router.absent(session)
        self._expiries.set(session.client_id, now + session.expiry_s)
        if session.will is not None:
            delay_s = session.will.properties.will_delay_s
            if delay_s:
                self._wills.set(session.client_id, now + delay_s)
            else:
                self._publish_will(session, now)

    def advance(self, now: float) -> None:
        """Publish the wills and end the sessions whose time has come."""
        for client_id in self._wills.due(now):
            self._publish_will(self._sessions[client_id], now)
        for client_id in self._expiries.due(now):
            self._end(self._sessions[client_id], now)

    def next_at(self) -> float | None:
        """Tell when to advance next."""
        return min((at for at in (self._wills.next_at(), self._expiries.next_at()) if at is not None), default=None)

    def _end(self, session: Session, now: float) -> None:
        """A will is due at the latest when its session ends."""
        del self._sessions[session.client_id]
        self._expiries.cancel(session.client_id)
        self._wills.cancel(session.client_id)
        self._router.end(session, now)
        self._publish_will(session, now)

    def _publish_will(self, session: Session, now: float) -> None:
        will, session.will = session.will, None
        if will is None or not self._may_publish(session.client_id, will.topic):
            return
        properties = replace(will.properties, will_delay_s=None)
        self._router.publish(
            Message.of(will.topic, will.payload, will.qos, properties, sender=session.client_id, now=now), now
        )
