"""The lines between daemon and child, under everything that hypothesis can think of."""

import json
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from headwater_agent.training import protocol
from headwater_agent.training.protocol import Job, Reply
from headwater_wire.ids import Digest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import wire_records as wire

WORDS = st.text(
    st.characters(exclude_categories=()), max_size=20
)  # all of Unicode: in a path a lone surrogate stands for a byte
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: WORDS,
    int: wire.COUNTS,
    float: st.floats(allow_nan=False),  # NaN is not equal to itself: it has a test of its own
    bool: st.booleans(),
    NoneType: st.none(),
    Digest: wire.DIGESTS,
}


def every(hint: Any) -> st.SearchStrategy[Any]:
    """Draw whatever a type allows; fields with a default are drawn as well, so that each crosses the line."""
    if hint in PLAIN:
        return PLAIN[hint]
    if isinstance(hint, type) and is_dataclass(hint):
        return st.builds(hint, **{name: every(inner) for name, inner in get_type_hints(hint).items()})
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return st.one_of(*map(every, inner))
    assert get_origin(hint) is tuple, f"nothing here says how to draw {hint}"
    return st.lists(every(inner[0]), max_size=3).map(tuple) if inner[1] is ... else st.tuples(*map(every, inner))


MESSAGE: st.SearchStrategy[Job | Reply] = every(Job | Reply)
KINDS = [kind.__name__ for kind in get_args(Job | Reply)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def read(line: bytes) -> Job | Reply | None:
    """Read a line; None if it was refused as declared."""
    try:
        return protocol.load(line)
    except ValueError:
        return None


@given(MESSAGE)
def test_every_message_comes_back_from_its_line(message: Job | Reply) -> None:
    """Each job and each reply is one line, which reads as the same record of the same kind."""
    line = protocol.dump(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert protocol.load(line) == message


@given(st.lists(MESSAGE, max_size=4))
def test_lines_in_a_row_are_as_many_messages(messages: list[Job | Reply]) -> None:
    """A reader that splits at newlines gets what was written, whatever names and reasons hold."""
    stream = b"".join(map(protocol.dump, messages))
    assert [protocol.load(line) for line in stream.splitlines(keepends=True)] == messages


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_can_be_told(loss: float) -> None:
    """A diverging job is told of as it is."""
    message = protocol.load(protocol.dump(protocol.Stepped(1, 2, loss)))
    assert isinstance(message, protocol.Stepped) and str(message.loss) == str(loss)


@given(st.binary(max_size=60))
@example(b"")
@example(b"\xff\xfe\x00")  # taken for UTF-16
@example(b"1" * 5000 + b"\n")  # beyond Python's digits of an int
def test_bytes_that_are_no_line_raise_the_declared_error_only(line: bytes) -> None:
    """Whatever comes, `load` gives a message or raises ValueError."""
    assert read(line) is None, "no sixty random bytes are a message"


@given(MESSAGE, st.data())
def test_a_line_cut_short_is_refused(message: Job | Reply, data: st.DataObject) -> None:
    """What a dying child left of a line is no message."""
    line = protocol.dump(message)
    assert read(line[: data.draw(st.integers(0, len(line) - 2))]) is None


@given(MESSAGE, st.data())
def test_damaged_bytes_raise_the_declared_error_only(message: Job | Reply, data: st.DataObject) -> None:
    """With some bytes replaced a line is a message still, or raises ValueError."""
    line = bytearray(protocol.dump(message))
    for place in data.draw(st.lists(st.integers(0, len(line) - 1), min_size=1, max_size=3)):
        line[place] = data.draw(st.integers(0, 255))
    read(bytes(line))


@given(st.sampled_from(KINDS) | JSON, JSON)
def test_json_of_any_shape_raises_the_declared_error_only(kind: Any, tree: Any) -> None:
    """Not even one that names its kind, nor one whose fields are of other types or none at all."""
    read(json.dumps(tree).encode())
    if isinstance(tree, dict):
        read(json.dumps({**tree, "kind": kind}).encode())


@given(MESSAGE, st.data())
def test_a_message_of_other_fields_raises_the_declared_error_only(message: Job | Reply, data: st.DataObject) -> None:
    """Somewhere in a real one, however deep, a field is missing, new, or holds something else; a new one is refused."""
    tree = json.loads(protocol.dump(message))
    places = _places(tree)
    place, key = data.draw(st.sampled_from(places))
    match data.draw(st.sampled_from(["drop", "replace", "add"])):
        case "drop":
            del place[key]
            read(json.dumps(tree).encode())
        case "replace":
            place[key] = data.draw(JSON)
            read(json.dumps(tree).encode())
        case _:
            tree["unheard_of"] = data.draw(JSON)
            assert read(json.dumps(tree).encode()) is None


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """List every place of a tree that holds something, as container and key."""
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in items] + [place for _, inner in items for place in _places(inner)]


@pytest.mark.parametrize("opening", [b"[", b'{"kind":'])
def test_a_line_nested_too_deep_raises_the_declared_error_only(opening: bytes) -> None:
    """A megabyte of brackets fits into a line: it is nonsense like any other."""
    assert read(opening * 100_000) is None
