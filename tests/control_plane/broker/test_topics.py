"""Which filter covers which topic (section 4.7)."""

import pytest
from headwater_control.edges.broker.filters import matches, parse_filter
from headwater_control.edges.broker.groups import Membership
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.mailbox import Budget
from headwater_control.edges.broker.routes import Routes
from headwater_control.edges.broker.session import Session
from headwater_control.edges.broker.tally import Tally
from hypothesis import given
from hypothesis import strategies as st

# The specification's own examples, section 4.7.1 and 4.7.2.
EXAMPLES = [
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/#", "sport", True),
    ("#", "sport/tennis", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("#", "$SYS/uptime", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/uptime", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("sport", "Sport", False),
]
LEVELS = st.sampled_from(["a", "b", "", "$c"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.tuples(st.lists(LEVELS | st.just("+"), min_size=1, max_size=4), st.booleans()).map(
    lambda made: "/".join([*made[0], "#"] if made[1] else made[0])
)


def _session(client_id: str = "c") -> Session:
    return Session(client_id, Limits(), Budget(1000), Tally())


@pytest.mark.parametrize(("topic_filter", "topic", "covered"), EXAMPLES)
def test_the_specifications_examples_hold(topic_filter: str, topic: str, covered: bool) -> None:
    """Plain matching and the tree agree with the specification's examples."""
    routes = Routes()
    routes.grow(topic_filter).own["c"] = Membership(_session(), 0)
    assert matches(topic_filter, topic) is covered
    assert any(branch.own for branch in routes.match(topic)) is covered


@given(st.lists(FILTERS.filter(bool), max_size=12), TOPICS)
def test_the_tree_finds_what_plain_matching_finds(filters: list[str], topic: str) -> None:
    """The tree finds each filter that covers a topic once, and no other."""
    routes = Routes()
    for text in filters:
        routes.grow(text).own[text] = Membership(_session(), 0)
    found = [name for branch in routes.match(topic) for name in branch.own]
    assert sorted(found) == sorted({text for text in filters if matches(text, topic)})


@given(st.lists(FILTERS.filter(bool), min_size=1, max_size=12, unique=True), st.data())
def test_a_pruned_tree_keeps_what_is_left(filters: list[str], data: st.DataObject) -> None:
    """Cutting some filters leaves the others where they were; cutting all leaves nothing."""
    routes = Routes()
    for text in filters:
        routes.grow(text).own[text] = Membership(_session(), 0)
    gone = data.draw(st.lists(st.sampled_from(filters), unique=True))
    for text in gone:
        routes.grow(text).own.clear()
        routes.prune(text)
    covered = {text: text.replace("+", "a").replace("#", "a") for text in filters}  # a topic each
    for text, topic in covered.items():
        assert any(text in branch.own for branch in routes.match(topic)) is (text not in gone)
    for text in set(filters) - set(gone):
        routes.grow(text).own.clear()
        routes.prune(text)
    assert not [branch for topic in covered.values() for branch in routes.match(topic)]


def test_a_shared_filter_is_read_in_its_parts() -> None:
    """`$share/NAME/FILTER` has the name up to the second slash; the rest, slashes and all, is the filter."""
    shared = parse_filter("$share/control/hw/v1/d/+/up/#")
    assert (shared.group, shared.topic) == ("control", "hw/v1/d/+/up/#")
    assert parse_filter("$share/g//finance").topic == "/finance"
    assert parse_filter("$shared/g/a").group == ""
