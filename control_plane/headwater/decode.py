"""From JSON to the records of records.py."""

import types
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from headwater.errors import Unexpected

T = TypeVar("T")


def decode(kind: type[T], tree: object) -> T:
    """Build a record; fields it doesn't know are a newer server's and left out. Raise `Unexpected` if it can't be."""
    try:
        return _decode(kind, tree)  # type: ignore[no-any-return]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unexpected(
            f"the server's answer is no {kind.__name__}: {error!r}; are client and server equally old?"
        ) from error


def _decode(kind: Any, tree: Any) -> Any:
    if kind is Any:
        return tree
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = next(arm for arm in get_args(kind) if arm is not types.NoneType)
        return None if tree is None else _decode(inner, tree)
    if origin is tuple:
        return tuple(_decode(get_args(kind)[0], item) for item in tree)
    if origin is dict:
        return {str(key): _decode(get_args(kind)[1], value) for key, value in tree.items()}
    if is_dataclass(kind):
        return _record(kind, tree)
    if kind is datetime:
        return datetime.fromisoformat(tree)
    if kind is float and isinstance(tree, int):
        return float(tree)
    if not isinstance(tree, kind):
        raise TypeError(f"{tree!r} is no {kind.__name__}")
    return tree


def _record(kind: Any, tree: Any) -> Any:
    hints = _hints(kind)
    return kind(**{name: _decode(hint, tree[name]) for name, hint in hints.items() if name in tree})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
