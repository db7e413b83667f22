"""How bytes are damaged: a few bits, bytes or pieces, wherever they are."""

import random
from collections.abc import Sequence

_SPLICES = (b"\0", b"\xff", b"\0\0", b"\xff\xff\xff\xff", b"\x7f", b"\x80", b"\xc0\x80", b"\xed\xa0\x80")


def damaged(data: bytes, source: random.Random, splices: Sequence[bytes] = _SPLICES) -> bytes:
    """Give other bytes, of about the same length; `splices` are pieces that mean something where they are put in."""
    out = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        at = source.randrange(len(out)) if out else 0
        match source.randrange(7):
            case 0 if out:
                out[at] ^= 1 << source.randrange(8)
            case 1 if out:
                out[at] = source.randrange(256)
            case 2:
                del out[at : at + source.randint(1, 4)]
            case 3:
                out[at:at] = source.randbytes(source.randint(1, 4))
            case 4:
                out[at:at] = source.choice(splices)
            case 5:
                out[at:] = b"" if source.random() < 0.3 else out[at:] + out[:at][:8]
            case _:
                out[at:at] = out[at : at + source.randint(1, 12)]
    return bytes(out)
