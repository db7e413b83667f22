"""What a client asks for in CONNECT, and what it gets: a pure function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.packets import Connect
from headwater_control.edges.broker.properties import ConnackProperties
from headwater_control.edges.broker.reasons import Reason

Action = Literal["publish", "subscribe"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a client says it is. `peer` is where it connects from; `certificate` (DER) proves it: empty without TLS."""

    client_id: str
    username: str | None
    password: bytes | None
    peer: str
    certificate: bytes = b""


Authorize = Callable[[str, Action, str], bool]  # (client id, action, topic or filter); it must not block
Authenticate = Callable[[Credentials], bool]  # likewise
Bounded = Callable[[str], bool]  # (client id): whether it may have only a share of what waits; likewise


def allow_all(client_id: str, action: Action, topic: str) -> bool:
    """Authorize everything: for a broker whose every client is trusted."""
    return True


def bound_all(client_id: str) -> bool:
    """Let nobody have more than a share of what waits in a shared subscription."""
    return True


def welcome_all(credentials: Credentials) -> bool:
    """Authenticate everyone: likewise."""
    return True


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a connection that is accepted."""

    client_id: str
    session_expiry_s: int
    keep_alive_s: int
    receive_maximum: int  # the client's
    maximum_packet_bytes: int | None  # the client's
    offered: ConnackProperties


def negotiate(connect: Connect, limits: Limits, new_id: Callable[[], str]) -> Terms | Reason:
    """Settle the terms, or say why the client can't be served."""
    asked = connect.properties
    if asked.authentication_method is not None:
        return Reason.BAD_AUTHENTICATION_METHOD
    if len(connect.client_id.encode()) > limits.client_id_bytes:
        return Reason.CLIENT_ID_NOT_VALID
    if connect.will is not None:
        if connect.will.qos > 1:
            return Reason.QOS_NOT_SUPPORTED
        if connect.will.retain:
            return Reason.RETAIN_NOT_SUPPORTED
        if connect.will.topic.count("/") >= limits.topic_levels:
            return Reason.TOPIC_NAME_INVALID
    client_id = connect.client_id or new_id()
    expiry_s = min(asked.session_expiry_s or 0, limits.session_expiry_s)
    keep_alive_s = min(connect.keep_alive_s or limits.keep_alive_s, limits.keep_alive_s)
    offered = ConnackProperties(
        session_expiry_s=None if expiry_s == (asked.session_expiry_s or 0) else expiry_s,
        receive_maximum=limits.receive_maximum,
        maximum_qos=1,
        retain_available=0,
        maximum_packet_bytes=limits.packet_bytes,
        assigned_client_id=None if connect.client_id else client_id,
        topic_alias_maximum=0,
        server_keep_alive_s=None if keep_alive_s == connect.keep_alive_s else keep_alive_s,
    )
    return Terms(
        client_id, expiry_s, keep_alive_s, asked.receive_maximum or 65_535, asked.maximum_packet_bytes, offered
    )
