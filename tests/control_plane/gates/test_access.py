"""Who may use which topic of the embedded broker."""

import pytest
from headwater_control.gates.access import OpenAccess, allowed, is_bounded, may_use
from headwater_control.link import CLIENT_PREFIX
from headwater_wire.ids import DeviceId
from headwater_wire.topics import CONTROL_FILTER, DOWN, UP, down, down_filter, up
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
LEVELS = st.one_of(
    NAMES, st.sampled_from(["hw", "v1", "d", "up", "dn", "+", "#", "", "$share", "$SYS", "box-1", "box-2", *UP, *DOWN])
)
NEAR = tuple(  # what differs from an allowed topic in one place or two
    f"hw/v1/d/{device}/{way}/{kind}"
    for device in ("box-1", "box-2", "+", "#", "BOX-1", "box-1/")
    for way in ("up", "dn", "+", "up/dn")
    for kind in (*UP, *DOWN, "#", "+", "", "other")
)
TOPICS = st.one_of(
    st.lists(LEVELS, max_size=9).map("/".join),
    st.tuples(LEVELS, LEVELS, LEVELS).map(lambda tail: "hw/v1/d/" + "/".join(tail)),
)
MAY_PUBLISH = {up(DeviceId("box-1"), kind) for kind in UP}
MAY_SUBSCRIBE = {down_filter(DeviceId("box-1")), *(down(DeviceId("box-1"), kind) for kind in DOWN)}


def test_of_all_near_topics_a_device_may_use_only_its_own() -> None:
    """Every combination of its own and others' devices, ways and kinds, wildcards included."""
    assert {topic for topic in NEAR if allowed("box-1", "publish", topic)} == MAY_PUBLISH
    assert {topic for topic in NEAR if allowed("box-1", "subscribe", topic)} == MAY_SUBSCRIBE


@given(TOPICS)
def test_a_device_publishes_to_its_own_upward_topics_and_to_no_other(topic: str) -> None:
    """Whatever the topic looks like, it may be published to if and only if it is one of the three own ones."""
    assert allowed("box-1", "publish", topic) == (topic in MAY_PUBLISH)


@given(TOPICS)
def test_a_device_hears_nothing_meant_for_another(filter_: str) -> None:
    """A filter may be subscribed to if and only if everything it matches is meant for this device."""
    assert allowed("box-1", "subscribe", filter_) == (filter_ in MAY_SUBSCRIBE)


@given(NAMES)
def test_every_device_may_do_what_it_needs(name: str) -> None:
    """Any valid name can publish upward and listen downward under itself."""
    device = DeviceId(name)
    assert OpenAccess().may_connect(name, None, None)
    assert allowed(name, "subscribe", down_filter(device))
    assert all(allowed(name, "publish", up(device, kind)) for kind in UP)


@pytest.mark.parametrize("client", ["", "+", "#", "a/b", "a b", "ä", "x" * 65, "-box", "box\n", "a:b"])
def test_a_client_id_that_is_no_name_is_refused(client: str) -> None:
    """What could not be one topic level is no device."""
    assert not OpenAccess().may_connect(client, None, None)
    assert not allowed(client, "subscribe", f"hw/v1/d/{client}/dn/#")


def test_the_control_plane_is_known_by_its_password_only() -> None:
    """Its client ids are out of reach without the credentials of this start, and with them may do everything."""
    access, other = OpenAccess(), OpenAccess()
    client = f"{CLIENT_PREFIX}gate-1"
    assert access.may_connect(client, access.username, access.password.encode())
    assert may_use(client, "subscribe", CONTROL_FILTER)
    assert may_use(client, "publish", down(DeviceId("box-1"), "task"))
    for username, password in ((None, None), (access.username, None), (access.username, other.password.encode())):
        assert not access.may_connect(client, username, password)
    assert not access.may_connect(client, "root", access.password.encode())


def test_the_password_is_not_printed() -> None:
    """A log line or traceback that shows the rules does not show the password."""
    access = OpenAccess()
    assert access.password not in repr(access)


def test_only_the_control_plane_has_no_share_to_fill() -> None:
    """Whatever a device is called, it is bounded in what waits of it."""
    assert is_bounded("box-1") and is_bounded("control") and is_bounded("")
    assert not is_bounded(f"{CLIENT_PREFIX}publisher")
