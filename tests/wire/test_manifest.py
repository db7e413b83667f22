"""The manifest: the same bytes for the same bundle, and a sentence for whatever is none."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from headwater_wire import manifest
from headwater_wire.errors import Malformed
from headwater_wire.ids import Digest, ModelName
from headwater_wire.manifest import Loss, Manifest, Parameter, TensorSpec
from headwater_wire.messages import Blob
from hypothesis import given
from hypothesis import strategies as st

from tests.support.steps import UNREAD
from tests.support.wire_records import MANIFESTS

SMALL = Manifest(
    ModelName("digits"),
    Blob(Digest("0" * 64), 10),
    (TensorSpec("x", "float32", (8, 8)),),
    (TensorSpec("logits", "float32", (10,)),),
    Loss("cross_entropy", "logits", TensorSpec("label", "int64", ())),
    (Parameter("w", (2, 3), 0), Parameter("b", (3,), 6)),
    ("frozen",),
    UNREAD,
)


@given(MANIFESTS)
def test_every_manifest_survives_the_journey(made: Manifest) -> None:
    """Parsed, it is what it was; serialized again, it has the same bytes and so the same digest."""
    data = made.to_bytes()
    assert manifest.parse(data) == made
    assert manifest.parse(data).to_bytes() == data


@given(data=st.data())
def test_a_damaged_manifest_is_a_manifest_or_malformed(data: st.DataObject) -> None:
    """Changed, cut or lengthened anywhere, it raises nothing but `Malformed`."""
    sent = bytearray(SMALL.to_bytes())
    match data.draw(st.sampled_from(["change", "cut", "insert"])):
        case "change":
            sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
        case "cut":
            del sent[data.draw(st.integers(0, len(sent) - 1)) :]
        case _:
            place = data.draw(st.integers(0, len(sent)))
            sent[place:place] = data.draw(st.binary(max_size=5))
    with suppress(Malformed):
        manifest.parse(bytes(sent))


def changed(path: tuple[Any, ...], value: Any) -> bytes:
    """Change one place of the small manifest's tree."""
    tree = json.loads(SMALL.to_bytes())
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("format",), "headwater-bundle/9", "of different versions"),
        (("model",), "../up", "is not a name"),
        (("graph", "digest"), "abc", "is not a SHA-256"),
        (("loss", "kind"), "hinge", "known are cross_entropy"),
        (("parameters", 1, "offset"), 5, "'b' is at 5, not at 6"),
        (("parameters",), [], "nothing to train"),
        (("parameters", 0, "shape"), [-1, 3], "a size that can't be"),
        (("parameters", 0, "shape"), [1 << 63], "a size that can't be"),
        (("parameters", 0, "shape"), [10**400] * 12, "a size that can't be"),  # a product that Python would not print
        (("parameters", 0, "shape"), [1] * 33, "33 axes"),
        (("parameters", 0, "shape"), [float("inf")], "can't be read"),
        (("inputs",), None, "can't be read"),
        (("loss",), [], "can't be read"),
        (("frozen",), 3, "can't be read"),
    ],
)
def test_what_is_wrong_is_named(path: tuple[Any, ...], value: Any, sentence: str) -> None:
    """The message says what to look at."""
    with pytest.raises(Malformed, match=sentence):
        manifest.parse(changed(path, value))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"format": '])
def test_what_is_no_tree_is_malformed(data: bytes) -> None:
    """However deep it is nested."""
    with pytest.raises(Malformed):
        manifest.parse(data)


def test_elements_count_the_flat_vector() -> None:
    """Two by three, and three."""
    assert SMALL.elements == 9
    assert replace(SMALL, parameters=(Parameter("scalar", (), 0),)).elements == 1
