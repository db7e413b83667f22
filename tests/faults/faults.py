"""What a link does wrong, and how a person spells it."""

import re
from dataclasses import dataclass, replace

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_AMOUNT = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmg]?b?)(/s)?")
_TIME = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|s)")


@dataclass(frozen=True, slots=True)
class Faults:
    """All of them may come together. A number that is 0 does no harm."""

    slow: float = 0.0  # bytes a second, of each connection and direction
    latency_s: float = 0.0
    jitter_s: float = 0.0  # added to the latency, drawn evenly from [0, this); the order stays
    cut_after: int = 0  # bytes of a connection, both directions together
    fin: bool = False  # cuts are in good order (FIN) instead of hard (RST)
    corrupt: int = 0  # one bit is flipped in about so many bytes
    frozen: bool = False  # half-open: connections are accepted and stay, and nothing is forwarded
    duplicate: float = 0.0  # the share of MQTT PUBLISH packets that come twice
    reorder: float = 0.0  # the share of MQTT PUBLISH packets that are overtaken by the next one

    @property
    def of_packets(self) -> bool:
        """Say whether what passes has to be MQTT without TLS."""
        return self.duplicate > 0 or self.reorder > 0


def changed(faults: Faults, name: str, value: str) -> Faults:
    """Give `faults` with one of them spelled anew; raise ValueError, saying what may be said."""
    match name:
        case "slow":
            return replace(faults, slow=amount(value))
        case "latency":
            return replace(faults, latency_s=time_s(value))
        case "jitter":
            return replace(faults, jitter_s=time_s(value))
        case "cut-after":
            return replace(faults, cut_after=int(amount(value)))
        case "corrupt":
            return replace(faults, corrupt=int(amount(value)))
        case "duplicate":
            return replace(faults, duplicate=share(value))
        case "reorder":
            return replace(faults, reorder=share(value))
    raise ValueError(f"there is no fault {name!r}: slow, latency, jitter, cut-after, corrupt, duplicate, reorder")


def amount(text: str) -> float:
    """Read "64kB/s", "64k", "1MB", "300"."""
    found = _AMOUNT.fullmatch(text.strip().lower())
    if not found:
        raise ValueError(f"{text!r} is no amount such as 64kB/s, 1MB or 300")
    return float(found["number"]) * _UNITS[found["unit"].rstrip("b")]


def time_s(text: str) -> float:
    """Read "100ms", "2s"."""
    found = _TIME.fullmatch(text.strip().lower())
    if not found:
        raise ValueError(f"{text!r} is no time such as 100ms or 2s")
    return float(found["number"]) / (1000 if found["unit"] == "ms" else 1)


def share(text: str) -> float:
    """Read "0.5", "50%"."""
    number = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= number <= 1:
        raise ValueError(f"{text!r} is no share such as 0.5 or 50%")
    return number
