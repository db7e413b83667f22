"""Protobuf messages filled at random, field by field: mostly with what such a field may be, sometimes with what not."""

import random
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_HOSTILE_TEXTS = ("", " ", "a/b", "../x", "x" * 65, "\0", "é", "a\nb", "𝄞" * 40, "-a", "%s", "{}")
_NAMES = ("box-1", "box-1", "box-1", "box-2", "t1", "r1", "a.b-c_D", "x" * 64, "f32", "digits")
_REALS = (0.0, 0.5, 0.1, 1.0, -0.0, -1.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
_HOSTILE = 0.03  # of the fields: a task has two dozen, and must get through now and then
_DEEPEST = 6
_LIMITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}

Maker = Callable[[random.Random], Any]


def fill(message: Message, source: random.Random, depth: int = 0) -> None:
    """Set most fields of `message`, and of those inside it."""
    for field, repeated, make in _plan(message.DESCRIPTOR):
        if source.random() < 0.06:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (_maker(inner) for inner in field.message_type.fields)
            for _ in range(source.choice((0, 1, 2))):
                getattr(message, field.name)[key(source)] = value(source)
        elif field.message_type is not None:
            if depth < _DEEPEST:
                for _ in range(source.choice((0, 1, 1, 2)) if repeated else 1):
                    part = getattr(message, field.name)
                    if repeated:
                        part = part.add()
                    else:
                        part.SetInParent()
                    fill(part, source, depth + 1)
        elif repeated:
            getattr(message, field.name).extend(make(source) for _ in range(source.choice((0, 1, 3))))
        elif field.containing_oneof is None or source.random() < 0.5:
            setattr(message, field.name, make(source))


@cache
def _plan(kind: Descriptor) -> tuple[tuple[FieldDescriptor, bool, Maker], ...]:
    return tuple((field, field.is_repeated, _maker(field)) for field in kind.fields)


def _maker(field: FieldDescriptor) -> Maker:
    if field.cpp_type in _LIMITS:
        low, high = _LIMITS[field.cpp_type]
        edges = (0, 1, 1, 2, 10, 1000, high >> 1)
        return lambda r: r.choice((low, high)) if r.random() < _HOSTILE else r.choice(edges)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return lambda r: r.random() < 0.5
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return lambda r: r.choice(_REALS if r.random() < 0.3 else _REALS[:3])
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            numbers = [value.number for value in field.enum_type.values]
            return lambda r: r.choice(numbers)
        case _ if field.type == FieldDescriptor.TYPE_BYTES:
            return lambda r: r.randbytes(r.choice((0, 1, 32, 32, 32, 64)))
        case _ if field.name in ("digest", "hello_hash"):
            return lambda r: r.choice(_HOSTILE_TEXTS) if r.random() < _HOSTILE else r.randbytes(32).hex()
        case _:
            return lambda r: r.choice(_HOSTILE_TEXTS if r.random() < _HOSTILE else _NAMES)
