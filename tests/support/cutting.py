"""Cutting bytes into pieces, as a stream delivers them."""

from collections.abc import Iterator


def cut(data: bytes | bytearray, size: int) -> Iterator[bytes]:
    """Give pieces of `size` bytes, the last one perhaps shorter."""
    for start in range(0, len(data), size):
        yield bytes(data[start : start + size])
