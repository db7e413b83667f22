"""What the packets of a client that is connected do: publish, subscribe, acknowledge, say goodbye."""

from headwater_control.edges.broker.filters import parse_filter
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.link import Link
from headwater_control.edges.broker.message import Message
from headwater_control.edges.broker.packets import (
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from headwater_control.edges.broker.reasons import BadPacket, Reason
from headwater_control.edges.broker.router import Router
from headwater_control.edges.broker.session import Session
from headwater_control.edges.broker.tally import Tally
from headwater_control.edges.broker.terms import Authorize


class Dialogue:
    """Answers packets. What was not offered, or may not come from a client, raises `BadPacket`."""

    def __init__(self, limits: Limits, router: Router, tally: Tally, authorize: Authorize) -> None:
        self._limits = limits
        self._router = router
        self._tally = tally
        self._authorize = authorize

    def handle(self, link: Link, session: Session, packet: Packet, now: float) -> None:
        """Do what one packet asks. After DISCONNECT the connection is the caller's to close."""
        match packet:
            case Publish():
                self._publish(link, session, packet, now)
            case Puback(packet_id):
                if session.acknowledge(packet_id):
                    self._router.serve(session, now)
            case Subscribe():
                reasons = tuple(self._subscribe(session, packet, wanted) for wanted in packet.subscriptions)
                link.send(Suback(packet.packet_id, reasons))
                self._router.serve(session, now)
            case Unsubscribe(packet_id, filters):
                known = tuple(self._router.unsubscribe(session, text) for text in filters)
                link.send(Unsuback(packet_id, tuple(0 if one else Reason.NO_SUBSCRIPTION_EXISTED for one in known)))
            case Pingreq():
                link.send(Pingresp())
            case Disconnect():
                self._disconnect(session, packet)
            case _:
                raise BadPacket(Reason.PROTOCOL_ERROR, f"a client does not send {type(packet).__name__} here")

    def _publish(self, link: Link, session: Session, packet: Publish, now: float) -> None:
        if packet.qos > 1:
            raise BadPacket(Reason.QOS_NOT_SUPPORTED, "PUBLISH with QoS 2, where Maximum QoS is 1")
        if packet.retain:
            raise BadPacket(Reason.RETAIN_NOT_SUPPORTED, "a retained PUBLISH, where nothing is retained")
        if packet.properties.topic_alias is not None:
            raise BadPacket(Reason.TOPIC_ALIAS_INVALID, "a topic alias, where Topic Alias Maximum is 0")
        if packet.properties.subscription_ids:
            raise BadPacket(Reason.PROTOCOL_ERROR, "a client's PUBLISH with a subscription identifier")
        self._tally.messages_in += 1
        reason = Reason.SUCCESS
        if packet.topic.count("/") >= self._limits.topic_levels:
            reason = Reason.TOPIC_NAME_INVALID
        elif not self._authorize(session.client_id, "publish", packet.topic):
            reason = Reason.NOT_AUTHORIZED
        if reason:
            self._tally.refused += 1
        else:
            sender = session.client_id
            message = Message.of(packet.topic, packet.payload, packet.qos, packet.properties, sender=sender, now=now)
            reason = self._router.publish(message, now)
            if reason == Reason.QUOTA_EXCEEDED:
                link.rest()
        if packet.qos:
            link.send(Puback(packet.packet_id, reason))

    def _subscribe(self, session: Session, packet: Subscribe, wanted: Subscription) -> int:
        topic = parse_filter(wanted.filter).topic
        if topic.count("/") >= self._limits.topic_levels:
            return Reason.TOPIC_FILTER_INVALID
        if not self._authorize(session.client_id, "subscribe", topic):
            self._tally.refused += 1
            return Reason.NOT_AUTHORIZED
        if wanted.filter not in session.filters and len(session.filters) >= self._limits.subscriptions:
            return Reason.QUOTA_EXCEEDED
        self._router.subscribe(session, wanted, packet.properties.subscription_id)
        return min(wanted.qos, 1)

    def _disconnect(self, session: Session, packet: Disconnect) -> None:
        expiry_s = packet.properties.session_expiry_s
        if expiry_s is not None:
            if expiry_s and not session.expiry_s:
                raise BadPacket(Reason.PROTOCOL_ERROR, "DISCONNECT asks to keep a session that CONNECT did not")
            session.expiry_s = min(expiry_s, self._limits.session_expiry_s)
        if packet.reason == Reason.SUCCESS:
            session.will = None
