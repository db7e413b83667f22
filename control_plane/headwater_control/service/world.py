"""Everything a use case works with: the ports, the bells and the settings."""

from dataclasses import dataclass, field
from pathlib import Path

from headwater_control.ports import Blobs, Clock, Ids, Issuer, Keyring, Offload, Publisher, Store
from headwater_control.service.bells import Bells
from headwater_control.service.holds import Holds
from headwater_control.service.mismatches import Mismatches
from headwater_control.service.nonces import Nonces
from headwater_control.service.refusals import Refusals
from headwater_control.service.roll import Roll


@dataclass(frozen=True, slots=True)
class Settings:
    """How patient the control plane is. `work_dir` is on the blobs' file system, so that files can be moved there."""

    work_dir: Path
    heartbeat_idle_s: int = 60
    heartbeat_busy_s: int = 10  # of a device with open tasks
    presence_grace_s: float = 30.0  # a device offline for so long is not waited for
    silence_s: float = 180.0  # one that claims to be online but is not heard of for so long is not waited for either
    lease_ttl_s: float = 8.0  # after a crash nobody leads for so long
    enrolment: str = ""  # host:port where boxes enrol; "": nowhere, since there is no TLS
    first_entry: str = ""  # the digest of the audit log's first entry, as the data directory has it
    first_revision: int = 0  # of a device that registers: beyond all that it was told before the last restore
    broker_vouches: bool = True  # for who speaks: ours does, by certificates; another one is believed nothing
    tolerance: float = 1e-3  # of a version's self-check on a box: |got - want| ≤ tolerance · (1 + |want|)


@dataclass(frozen=True, slots=True)
class World:
    """What every use case gets."""

    store: Store
    blobs: Blobs
    offload: Offload
    publisher: Publisher
    clock: Clock
    ids: Ids
    issuer: Issuer
    keyring: Keyring
    bells: Bells
    settings: Settings
    holds: Holds = field(default_factory=Holds)
    mismatches: Mismatches = field(default_factory=Mismatches)
    nonces: Nonces = field(default_factory=Nonces)
    refusals: Refusals = field(default_factory=Refusals)
    roll: Roll = field(default_factory=Roll)
