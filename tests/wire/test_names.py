"""Ids, topics and digests: what is a name, what is a topic, and nothing else."""

import string

import pytest
from headwater_wire import digests, topics
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, ModelName, check_digest, check_model_name, check_name, version_id
from hypothesis import given
from hypothesis import strategies as st

from tests.support.wire_records import DEVICE_IDS, DIGESTS, NAMES

SAFE = set(string.ascii_letters + string.digits + "._-")


@given(text=st.one_of(st.text(max_size=70), st.text(sorted(SAFE), max_size=70), NAMES))
def test_a_name_is_safe_everywhere(text: str) -> None:
    """Accepted is exactly what is one topic level, one file name (no dot file) and one URL segment."""
    safe = 1 <= len(text) <= 64 and set(text) <= SAFE and text[0] not in "._-"
    if safe:
        assert check_name(text, "device") == text
    else:
        with pytest.raises(Malformed, match=r"device .* is not a name"):
            check_name(text, "device")


@given(model=st.text(sorted(SAFE), min_size=40, max_size=64), number=st.integers(1, 10**12))
def test_the_versions_of_a_model_have_names_too(model: str, number: int) -> None:
    """What can name a model leaves room for the number of any version."""
    try:
        name = check_model_name(model)
    except Malformed:
        return
    assert check_name(version_id(name, number), "version")


NEARLY = st.builds(  # a digest with something cut out and something put in
    lambda digest, start, end, put: digest[:start] + put + digest[start + end :],
    DIGESTS,
    st.integers(0, 64),
    st.integers(0, 2),
    st.text("0fAg\n", max_size=2),
)


@given(text=st.one_of(st.text(max_size=70), NEARLY))
def test_a_digest_is_64_lowercase_hex_digits(text: str) -> None:
    """And nothing else is."""
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        assert check_digest(text) == text
    else:
        with pytest.raises(Malformed):
            check_digest(text)


@given(data=st.binary())
def test_every_content_has_a_digest(data: bytes) -> None:
    """Of bytes and of a view of them, the same."""
    blob = digests.of_bytes(data)
    assert check_digest(blob.digest) and blob.size == len(data)
    assert digests.of_bytes(memoryview(data)) == blob


@given(device=DEVICE_IDS, kind=st.sampled_from(topics.UP + topics.DOWN))
def test_every_topic_is_parsed_back(device: DeviceId, kind: str) -> None:
    """Whom it concerns, which way it goes, what it tells."""
    upward = kind in topics.UP
    topic = topics.up(device, kind) if upward else topics.down(device, kind)
    assert topics.parse(topic) == (device, "up" if upward else "dn", kind)


LEVELS = (["hw", ""], ["v1", "v2"], ["d"], ["box", "", "+", "#", "a b"], ["up", "dn", "+"], ["hello", "task", "#"])


@given(st.one_of(st.text(max_size=40), st.tuples(*map(st.sampled_from, LEVELS)).map("/".join)))
def test_any_other_topic_is_malformed(topic: str) -> None:
    """What is parsed is a topic that we would spell in the same way."""
    try:
        device, way, kind = topics.parse(topic)
    except Malformed:
        return
    assert topic == (topics.up if way == "up" else topics.down)(device, kind)
    check_name(device, "device")


@pytest.mark.parametrize(
    "topic", ["hw/v1/d/box/up/task", "hw/v1/d/box/dn/hello", "hw/v1/d/+/up/hello", "hw/v1/d//up/hello"]
)
def test_a_kind_belongs_to_its_way(topic: str) -> None:
    """A device tells no tasks, and no wildcard is a device."""
    with pytest.raises(Malformed):
        topics.parse(topic)


def test_a_version_is_named_after_its_model() -> None:
    """So that a person can tell it."""
    assert version_id(ModelName("digits"), 3) == "digits-3"
