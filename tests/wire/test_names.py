"""Ids, topics and digests: what is a name, what is a topic, and nothing else."""

import string

import pytest
from headwater_wire import digests, topics
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, ModelName, check_digest, check_name, version_id
from hypothesis import given
from hypothesis import strategies as st

from tests.support.wire_records import DEVICE_IDS, NAMES

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


@given(text=st.one_of(st.text(max_size=70), st.text("0123456789abcdefABCDEF\n", min_size=63, max_size=65)))
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


@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(st.sampled_from(["hw", "v1", "d", "x", "up", "dn", "hello", "task", "", "+", "#"]), max_size=7).map(
            "/".join
        ),
    )
)
def test_any_other_topic_is_malformed(topic: str) -> None:
    """What is parsed is a topic that we would spell in the same way."""
    try:
        device, way, kind = topics.parse(topic)
    except Malformed:
        return
    assert topic == (topics.up if way == "up" else topics.down)(device, kind)


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
