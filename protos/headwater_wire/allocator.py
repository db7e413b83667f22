"""Keeps glibc from giving every freed chunk back to the kernel, only to ask for it again a millisecond later.

By default it maps each allocation above 128 KiB afresh, or trims the heap behind it: the page faults take several times
as long as building and parsing the messages themselves (4 MB in chunks: 6.8 against 0.8 ms, on a virtual machine).
"""

import ctypes

from headwater_wire.chunks import CHUNK_BYTES

# From mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
KEPT_BYTES = 16 * CHUNK_BYTES  # a chunk, its message and what gRPC makes of both; at half of it, faults are back


def keep_freed_chunks(kept_bytes: int = KEPT_BYTES) -> None:
    """Let this process keep up to `kept_bytes` of freed memory for its next chunks. Without glibc it does nothing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, kept_bytes)
    mallopt(_M_TRIM_THRESHOLD, kept_bytes)
