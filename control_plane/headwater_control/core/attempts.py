"""Failed attempts to get in: so many at once from one address, then one every few seconds."""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """A token bucket: `burst` attempts at once, and one more every `every_s`."""

    burst: int = 10
    every_s: float = 6.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many attempts were left at a time (seconds)."""

    left: float
    at: float


def filled(bucket: Bucket, now: float, pace: Pace) -> Bucket:
    """Say what is left by now. A clock that was set back gives nothing, and takes nothing."""
    return Bucket(min(float(pace.burst), bucket.left + max(0.0, now - bucket.at) / pace.every_s), now)


def wait_s(bucket: Bucket, now: float, pace: Pace) -> float:
    """Say how long to wait for the next attempt; 0: none."""
    return max(0.0, 1.0 - filled(bucket, now, pace).left) * pace.every_s


def spent(bucket: Bucket, now: float, pace: Pace) -> Bucket:
    """Take one attempt."""
    by_now = filled(bucket, now, pace)
    return Bucket(max(0.0, by_now.left - 1.0), now)


def source_of(address: str) -> str:
    """Say whose attempts are counted together: an IPv4 address, or the /64 that one IPv6 customer has (RFC 6177)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found), 64), strict=False))
    return str(found)


class Attempts:
    """A bucket for each source; of more than `most` sources the ones that failed longest ago are forgotten."""

    def __init__(self, pace: Pace | None = None, most: int = 10_000) -> None:
        self._pace = pace or Pace()
        self._most = most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait_s(self, address: str, now: float) -> float:
        """Say how long an address has to wait; 0: it may try."""
        bucket = self._buckets.get(source_of(address))
        return wait_s(bucket, now, self._pace) if bucket else 0.0

    def failed(self, address: str, now: float) -> None:
        """Count a failed attempt."""
        source = source_of(address)
        bucket = self._buckets.pop(source, Bucket(float(self._pace.burst), now))
        self._buckets[source] = spent(bucket, now, self._pace)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
