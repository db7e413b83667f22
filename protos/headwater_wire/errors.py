"""What can be wrong with bytes that the other side sent."""


class WireError(Exception):
    """Something received does not follow the contract."""


class Malformed(WireError):
    """A message, name or file that can't be read as what it claims to be."""


class DigestMismatch(WireError):
    """Bytes whose SHA-256 is not the one they were announced with."""

    def __init__(self, wanted: str, got: str) -> None:
        super().__init__(f"the SHA-256 is {got}, but {wanted} was announced: the bytes were damaged; send them again")
        self.wanted = wanted
        self.got = got


class LengthMismatch(WireError):
    """Bytes that are more or fewer than announced."""

    def __init__(self, wanted: int, got: int) -> None:
        super().__init__(f"{got} bytes instead of the {wanted} announced")
        self.wanted = wanted
        self.got = got
