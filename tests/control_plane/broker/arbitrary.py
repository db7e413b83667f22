"""Hypothesis strategies for packets of MQTT v5."""

from headwater_control.edges.broker import packets as p
from headwater_control.edges.broker import properties as props
from headwater_control.edges.broker import reasons
from hypothesis import strategies as st

BYTES = st.integers(0, 255)
WORDS = st.integers(0, 65_535)
IDS = st.integers(1, 65_535)
LONGS = st.integers(0, 2**32 - 1)
FLAGS = st.integers(0, 1)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
BLOBS = st.binary(max_size=40)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple)
TOPICS = st.text(st.sampled_from("ab/$é€𝄞 "), min_size=1, max_size=10)
FILTERS = (
    st.lists(st.sampled_from(["a", "b", "", "+", "$c", "é"]), min_size=1, max_size=5)
    .flatmap(
        lambda levels: st.sampled_from(
            ["/".join(levels), "/".join([*levels, "#"]), "$share/g/" + "/".join([*levels, "#"])]
        )
    )
    .filter(bool)
)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Make a property that may be absent."""
    return st.none() | strategy


CONNECT_PROPERTIES = st.builds(
    props.ConnectProperties,
    session_expiry_s=maybe(LONGS),
    receive_maximum=maybe(IDS),
    maximum_packet_bytes=maybe(st.integers(1, 2**32 - 1)),
    topic_alias_maximum=maybe(WORDS),
    request_response_information=maybe(FLAGS),
    request_problem_information=maybe(FLAGS),
    user_properties=PAIRS,
)
CONNACK_PROPERTIES = st.builds(
    props.ConnackProperties,
    session_expiry_s=maybe(LONGS),
    receive_maximum=maybe(IDS),
    maximum_qos=maybe(FLAGS),
    retain_available=maybe(FLAGS),
    maximum_packet_bytes=maybe(st.integers(1, 2**32 - 1)),
    assigned_client_id=maybe(TEXTS),
    topic_alias_maximum=maybe(WORDS),
    reason_string=maybe(TEXTS),
    user_properties=PAIRS,
    wildcards_available=maybe(FLAGS),
    subscription_ids_available=maybe(FLAGS),
    shared_available=maybe(FLAGS),
    server_keep_alive_s=maybe(WORDS),
    response_information=maybe(TEXTS),
    server_reference=maybe(TEXTS),
    authentication_method=st.just("m"),
    authentication_data=maybe(BLOBS),
)
PUBLISH_PROPERTIES = st.builds(
    props.PublishProperties,
    payload_format=maybe(FLAGS),
    message_expiry_s=maybe(LONGS),
    content_type=maybe(TEXTS),
    response_topic=maybe(TOPICS),
    correlation_data=maybe(BLOBS),
    subscription_ids=st.lists(st.integers(1, 268_435_455), max_size=3).map(tuple),
    topic_alias=maybe(IDS),
    user_properties=PAIRS,
)
WILL_PROPERTIES = st.builds(
    props.PublishProperties,
    payload_format=maybe(FLAGS),
    message_expiry_s=maybe(LONGS),
    content_type=maybe(TEXTS),
    response_topic=maybe(TOPICS),
    correlation_data=maybe(BLOBS),
    user_properties=PAIRS,
    will_delay_s=maybe(LONGS),
)
ACK_PROPERTIES = st.builds(props.AckProperties, reason_string=maybe(TEXTS), user_properties=PAIRS)
WILLS = st.builds(
    p.Will, topic=TOPICS, payload=BLOBS, qos=st.integers(0, 2), retain=st.booleans(), properties=WILL_PROPERTIES
)
PUBLISHES = st.integers(0, 2).flatmap(
    lambda qos: st.builds(
        p.Publish,
        topic=TOPICS,
        payload=BLOBS,
        qos=st.just(qos),
        packet_id=IDS if qos else st.just(0),
        dup=st.booleans() if qos else st.just(False),
        retain=st.booleans(),
        properties=PUBLISH_PROPERTIES,
    )
)
CONNECTS = st.builds(
    p.Connect,
    client_id=TEXTS,
    clean_start=st.booleans(),
    keep_alive_s=WORDS,
    will=st.none() | WILLS,
    username=st.none() | TEXTS,
    password=st.none() | BLOBS,
    properties=CONNECT_PROPERTIES,
)


@st.composite
def _subscriptions(draw: st.DrawFn) -> p.Subscription:
    text = draw(FILTERS)
    no_local = draw(st.booleans()) and not text.startswith("$share/")
    return p.Subscription(text, draw(st.integers(0, 2)), no_local, draw(st.booleans()), draw(st.integers(0, 2)))


def _reasons(known: frozenset[int]) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=4).map(tuple)


PACKETS: st.SearchStrategy[p.Packet] = st.one_of(
    CONNECTS,
    st.builds(
        p.Connack, st.sampled_from(sorted(reasons.CONNACK_REASONS)), st.just(False), properties=CONNACK_PROPERTIES
    ),
    st.builds(p.Connack, st.just(0), st.booleans(), properties=CONNACK_PROPERTIES),
    PUBLISHES,
    st.builds(p.Puback, IDS, st.sampled_from(sorted(reasons.PUBACK_REASONS)), properties=ACK_PROPERTIES),
    st.builds(
        p.Subscribe,
        IDS,
        st.lists(_subscriptions(), min_size=1, max_size=4).map(tuple),
        st.builds(props.SubscribeProperties, maybe(st.integers(1, 268_435_455)), PAIRS),
    ),
    st.builds(p.Suback, IDS, _reasons(reasons.SUBACK_REASONS), ACK_PROPERTIES),
    st.builds(
        p.Unsubscribe,
        IDS,
        st.lists(FILTERS, min_size=1, max_size=4).map(tuple),
        st.builds(props.SubscribeProperties, st.none(), PAIRS),
    ),
    st.builds(p.Unsuback, IDS, _reasons(reasons.UNSUBACK_REASONS), ACK_PROPERTIES),
    st.just(p.Pingreq()),
    st.just(p.Pingresp()),
    st.builds(
        p.Disconnect,
        st.sampled_from(sorted(reasons.DISCONNECT_REASONS)),
        st.builds(props.DisconnectProperties, maybe(LONGS), maybe(TEXTS), PAIRS, maybe(TEXTS)),
    ),
    st.builds(
        p.Auth,
        st.sampled_from(sorted(reasons.AUTH_REASONS)),
        st.builds(props.AuthProperties, st.just("SCRAM"), maybe(BLOBS), maybe(TEXTS), PAIRS),
    ),
)
