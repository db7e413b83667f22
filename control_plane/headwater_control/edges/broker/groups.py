"""A shared subscription: each message goes to one of its members, and waits in common while none can take it."""

from collections.abc import Iterator
from dataclasses import dataclass

from headwater_control.edges.broker.mailbox import Mailbox
from headwater_control.edges.broker.message import Message, Parcel
from headwater_control.edges.broker.session import Session
from headwater_control.edges.broker.shares import Shares
from headwater_control.edges.broker.tally import Drop


@dataclass(frozen=True, slots=True)
class Membership:
    """What one session asked for with one filter."""

    session: Session
    qos: int
    subscription_id: int | None = None
    no_local: bool = False


class Group:
    """Members take turns. What has not been sent yet belongs to the group, so a member that goes takes none along.

    Of a publisher that has its share in it what is new is dropped, and it isn't read for a moment. Not to read it until
    something is taken would leave unread, for as long, that it lives or leaves.
    """

    def __init__(self, backlog: Mailbox, shares: Shares) -> None:
        self.backlog = backlog
        self.shares = shares
        self._members: dict[str, Membership] = {}  # in the order of their turns

    def __bool__(self) -> bool:
        return bool(self._members)

    def join(self, membership: Membership) -> None:
        """Add a member, or change its options."""
        self._members[membership.session.client_id] = membership

    def leave(self, client_id: str) -> None:
        """Remove a member; the last one takes the backlog with it."""
        self._members.pop(client_id, None)
        if not self._members:
            self.backlog.clear()

    def members(self) -> Iterator[Membership]:
        """List the members, next turn first."""
        return iter(self._members.values())

    def publish(self, message: Message, now: float) -> bool:
        """Pass a message on, or keep it for whoever can take it first; QoS 0 is not kept for absent members.

        Say False if its publisher has its share already.
        """
        if not self.shares.admit(message, now):
            self.backlog.lose(Drop.SHARE_FULL, message.sender)
            return False
        if not self.backlog and (member := self._turn()) is not None:
            self._give(message, member, now)
        elif self._keeps(message.qos) and self.backlog.put(Parcel(message, message.qos, (), self), now):
            self.serve(now)
        return True

    def serve(self, now: float) -> None:
        """Hand out the backlog for as long as a member can take more."""
        while self.backlog and (member := self._turn()) is not None:
            parcel = self.backlog.pop(now)
            if parcel is None:
                return
            self._give(parcel.message, member, now)

    def take_back(self, parcels: Iterator[Parcel], now: float) -> None:
        """Give others what a member that is gone for good had not acknowledged, before anything newer."""
        if not self._members:
            return
        for parcel in reversed(list(parcels)):
            self.backlog.put_back(Parcel(parcel.message, parcel.message.qos, (), self))
        self.serve(now)

    def absent(self) -> None:
        """Note that a member lost its connection: with nobody there, QoS 0 is let go."""
        if not any(member.session.link for member in self._members.values()):
            self.backlog.forget_qos0()

    def _give(self, message: Message, member: Membership, now: float) -> None:
        ids = () if member.subscription_id is None else (member.subscription_id,)
        member.session.deliver(Parcel(message, min(message.qos, member.qos), ids, self), now)

    def _keeps(self, qos: int) -> bool:
        return any(member.session.link is not None or min(qos, member.qos) for member in self._members.values())

    def _turn(self) -> Membership | None:
        for client_id, member in self._members.items():
            if member.session.idle:
                del self._members[client_id]
                self._members[client_id] = member  # its next turn comes last
                return member
        return None
