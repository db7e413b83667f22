"""JSON documents that went wrong: a value here and there is another, or the text is no JSON any more."""

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.fuzzing.damage import damaged

_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 1 << 31, 1 << 63, -(1 << 63), 10**400, 1.5,
    float("inf"), float("-inf"), float("nan"),
    "", "0", "x" * 70, "\0", "\ud800", "../x", "é", [], {}, [0], [[]], [-1],
    [1 << 40, 1 << 40], {"a": 1}, [1e300] * 3, [10**400] * 12,
)  # fmt: skip
_DEEP = 100_000  # brackets: Python reads them by recursion


def twisted(tree: Any, source: random.Random) -> bytes:
    """Write a tree of which a few values were changed, exchanged, left out or added."""
    copy = _copy(tree)
    for _ in range(source.choice((1, 1, 2, 4))):
        places = list(_places(copy))
        if places:
            _change(*source.choice(places), source)
    if source.random() < 0.002:
        return b"[" * _DEEP
    text = json.dumps(copy).encode("utf-8", "surrogatepass")
    return damaged(text, source) if source.random() < 0.15 else text


def _change(parent: Any, key: Any, source: random.Random) -> None:
    match source.randrange(6):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[source.choice(("", "name", "x", "\ud800"))] = _copy(parent[key])
        case 1:
            parent.append(_copy(parent[key]))
        case 2 if isinstance(parent[key], list):
            parent[key] = _copy(parent[key] * source.choice((2, 40)))
        case _:
            parent[key] = _copy(source.choice(_VALUES))


def _copy(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """List all places in a tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield tree, key
        yield from _places(value)
