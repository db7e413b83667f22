"""A delta file's first 64 bytes: what it is, in which codec, of how many numbers, under a CRC of their own."""

import struct
import zlib
from dataclasses import dataclass

from headwater_wire.errors import Malformed

HEADER_BYTES = 64
FORMAT = 1
_MAGIC = b"HWDELTA\0"
_FIELDS = struct.Struct("<8sHH16sQ24x")  # magic, format, reserved (0), codec padded by NUL, elements, reserved
_CRC = struct.Struct("<I")  # CRC-32 (zlib's) of the 60 bytes before it


@dataclass(frozen=True, slots=True)
class Header:
    """What a delta file says of itself."""

    codec: str
    elements: int

    def to_bytes(self) -> bytes:
        """Encode."""
        name = self.codec.encode("ascii")
        if not 0 < len(name) <= 16 or not 0 <= self.elements < 1 << 63:
            raise ValueError(f"no delta file can say {self}")
        fields = _FIELDS.pack(_MAGIC, FORMAT, 0, name, self.elements)
        return fields + _CRC.pack(zlib.crc32(fields))


def parse(data: bytes) -> Header:
    """Decode the first 64 bytes of a delta file; raise `Malformed` naming what is wrong."""
    if len(data) < HEADER_BYTES or not data.startswith(_MAGIC):
        raise Malformed("not a delta file: it does not begin with a delta's header")
    fields, crc = data[: _FIELDS.size], data[_FIELDS.size : HEADER_BYTES]
    if _CRC.unpack(crc)[0] != zlib.crc32(fields):
        raise Malformed("the delta's header is damaged: its CRC does not fit")
    _, version, reserved, name, elements = _FIELDS.unpack(fields)
    if (version, reserved) != (FORMAT, 0) or any(fields[36:]):
        raise Malformed(
            f"the delta is of format {version}; this side reads {FORMAT}: agent and server differ in version"
        )
    try:
        codec = name.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed(f"the delta names its codec {name!r}") from error
    return Header(codec, elements)
