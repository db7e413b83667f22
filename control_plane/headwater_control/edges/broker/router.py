"""Who gets what: subscriptions, and the way of a message to sessions and groups."""

from headwater_control.edges.broker.filters import parse_filter
from headwater_control.edges.broker.groups import Group, Membership
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.mailbox import Budget, Mailbox
from headwater_control.edges.broker.message import Message, Parcel
from headwater_control.edges.broker.packets import Subscription
from headwater_control.edges.broker.reasons import Reason
from headwater_control.edges.broker.routes import Routes
from headwater_control.edges.broker.session import Session
from headwater_control.edges.broker.shares import Shares
from headwater_control.edges.broker.tally import Tally
from headwater_control.edges.broker.terms import Bounded


class Router:
    """All subscriptions of all sessions."""

    def __init__(self, limits: Limits, budget: Budget, tally: Tally, bounded: Bounded) -> None:
        self._routes = Routes()
        self._limits = limits
        self._budget = budget
        self._tally = tally
        self._bounded = bounded
        self._groups: dict[str, dict[str, Group]] = {}  # by client id and filter

    def subscribe(self, session: Session, wanted: Subscription, subscription_id: int | None) -> None:
        """Add a subscription, or replace the one with the same filter."""
        parsed = parse_filter(wanted.filter)
        membership = Membership(session, min(wanted.qos, 1), subscription_id, wanted.no_local)
        branch = self._routes.grow(parsed.topic)
        session.filters.add(parsed.text)
        if not parsed.group:
            branch.own[session.client_id] = membership
            return
        group = branch.groups.get(parsed.group)
        if group is None:
            limits = self._limits
            backlog = Mailbox(
                parsed.text, limits.shared_queue_messages, limits.shared_queue_bytes, self._budget, self._tally
            )
            group = branch.groups[parsed.group] = Group(
                backlog, Shares(limits.share_messages, limits.share_bytes, self._bounded)
            )
        group.join(membership)
        self._groups.setdefault(session.client_id, {})[parsed.text] = group

    def unsubscribe(self, session: Session, text: str) -> bool:
        """Remove a subscription; say False if there was none."""
        if text not in session.filters:
            return False
        session.filters.discard(text)
        parsed = parse_filter(text)
        branch = self._routes.grow(parsed.topic)
        if parsed.group:
            group = branch.groups[parsed.group]
            group.leave(session.client_id)
            del self._groups[session.client_id][text]
            if not group:
                del branch.groups[parsed.group]
        else:
            del branch.own[session.client_id]
        self._routes.prune(parsed.topic)
        return True

    def publish(self, message: Message, now: float) -> Reason:
        """Bring a message to everyone it concerns, to each session once; say if there is nobody, or if it was refused.

        A shared subscription refuses a message if its publisher has its share there already.
        """
        own: dict[str, Parcel] = {}
        sessions: list[Session] = []
        reached, refused = False, False
        for branch in self._routes.match(message.topic):
            for group in branch.groups.values():
                refused |= not group.publish(message, now)
                reached = True
            for client_id, member in branch.own.items():
                if member.no_local and client_id == message.sender:
                    continue
                ids = () if member.subscription_id is None else (member.subscription_id,)
                known = own.get(client_id)
                if known is None:
                    sessions.append(member.session)
                    own[client_id] = Parcel(message, min(message.qos, member.qos), ids)
                else:
                    qos = max(known.qos, min(message.qos, member.qos))
                    own[client_id] = Parcel(message, qos, known.subscription_ids + ids)
        for session in sessions:
            session.deliver(own[session.client_id], now)
        if refused:
            return Reason.QUOTA_EXCEEDED
        return Reason.SUCCESS if reached or own else Reason.NO_MATCHING_SUBSCRIBERS

    def serve(self, session: Session, now: float) -> None:
        """Note that a session may be able to take more: first of its own, then of its groups'."""
        session.pump(now)
        for group in self._groups.get(session.client_id, {}).values():
            group.serve(now)

    def absent(self, session: Session) -> None:
        """Note that a session lost its connection."""
        for group in self._groups.get(session.client_id, {}).values():
            group.absent()

    def forget_sender(self, client_id: str) -> None:
        """Let go what a publisher left waiting in shared subscriptions."""
        for groups in self._groups.values():
            for group in groups.values():
                group.backlog.forget_sender(client_id)

    def end(self, session: Session, now: float) -> None:
        """Remove a session; what it had not acknowledged of a shared subscription goes to the others in it."""
        orphans = tuple(session.end())
        groups = tuple(self._groups.get(session.client_id, {}).values())
        for text in tuple(session.filters):
            self.unsubscribe(session, text)
        self._groups.pop(session.client_id, None)
        for group in groups:
            group.take_back((parcel for parcel in orphans if parcel.group is group), now)
