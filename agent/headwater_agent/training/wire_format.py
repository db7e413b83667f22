"""Reads the fields of a protobuf message one by one, copying nothing: https://protobuf.dev/programming-guides/encoding/."""

from collections.abc import Iterator
from mmap import mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_MOST_BITS = 64
_MOST_TAG = (1 << 32) - 1

Data = bytes | mmap
Field = tuple[int, int, int, int]  # number, wire type, the value of a VARINT or else its start, the end


class Damaged(Exception):
    """These bytes are no message, or were cut short."""


def fields(data: Data, start: int, end: int) -> Iterator[Field]:
    """Give a message's fields in the order they come; raise `Damaged`, also for groups, which are out of use."""
    at = start
    while at < end:
        tag, at = varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if not number or tag > _MOST_TAG:
            raise Damaged(f"byte {at} is in no field")
        if wire == VARINT:
            value, at = varint(data, at, end)
            yield number, wire, value, at
            continue
        if wire == BYTES:
            length, at = varint(data, at, end)
        elif wire in _WIDTHS:
            length = _WIDTHS[wire]
        else:
            raise Damaged(f"byte {at} has the unknown wire type {wire}")
        if length > end - at:
            raise Damaged(f"a field at byte {at} has {length} bytes, and {end - at} are left")
        yield number, wire, at, at + length
        at += length


def varints(data: Data, start: int, end: int) -> Iterator[int]:
    """Give the numbers of a packed field."""
    at = start
    while at < end:
        value, at = varint(data, at, end)
        yield value


def varint(data: Data, at: int, end: int) -> tuple[int, int]:
    """Read one unsigned number of at most 64 bits; give it, and where the next one begins."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> _MOST_BITS:
                raise Damaged(f"the number that ends at byte {at} is too large")
            return value, at
        shift += 7
        if shift >= _MOST_BITS + 6:
            break
    raise Damaged(f"the number that ends at byte {at} is too long, or was cut short")
