"""What bounds the broker: every queue, wait and packet has its number here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sized for a few thousand devices that exchange small messages; memory is bounded by `queued_bytes` in all."""

    connections: int = 4096
    sessions: int = 16_384  # connected or not
    packet_bytes: int = 262_144  # announced as Maximum Packet Size
    receive_maximum: int = 256  # unacknowledged QoS 1 messages a client may have on their way to us
    send_window: int = 256  # and we to a client, which may ask for fewer
    send_window_bytes: int = 1_048_576
    queue_messages: int = 1000  # waiting for one session
    queue_bytes: int = 4_194_304
    shared_queue_messages: int = 100_000  # waiting for one $share group
    shared_queue_bytes: int = 67_108_864
    share_messages: int = 64  # of one publisher, not taken yet: a box that comes back sends five; four fill a window
    share_bytes: int = 262_144  # likewise: with as many, 256 publishers fill the group's queue
    queued_bytes: int = 268_435_456  # waiting for all sessions and groups together
    rest_s: float = 1.0  # for which a publisher beyond its share is not read: its flood costs no time either
    subscriptions: int = 100  # of one session
    topic_levels: int = 64
    client_id_bytes: int = 256
    session_expiry_s: int = 86_400  # a client that asks for more gets this
    keep_alive_s: int = 600  # likewise, and one that asks for none
    connect_s: float = 10.0  # from TCP connection to CONNECT
    stall_s: float = 10.0  # how long a client may leave what was sent to it unread
    burst_bytes: int = 65_536  # written to one client before it is asked whether it keeps up
    socket_buffer_bytes: int = 131_072  # held by the kernel for one client: it would go up to megabytes by itself
    linger_s: float = 2.0  # from the last packet to the forced end of a connection
