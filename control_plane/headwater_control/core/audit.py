"""The audit log: who changed what, as a chain in which each entry's digest covers the digest of the one before."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a change: a name, the network address it comes from, and the id of the request."""

    who: str
    source: str = ""
    request: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """A change, such as run.pause of run-1. `before` and `after` are JSON objects of the fields that changed."""

    action: str
    subject: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: number and digest of its last entry."""

    number: int = 0
    digest: str = ""


START = Head()  # of a chain without entries


@dataclass(frozen=True, slots=True)
class Entry:
    """One link: a change, who asked for it and when, and the digests that hold the chain together (SHA-256, hex)."""

    number: int  # from 1 on, without gaps
    at: datetime
    who: str
    source: str
    request: str
    action: str
    subject: str
    before: str
    after: str
    previous: str
    digest: str

    @property
    def head(self) -> Head:
        """Say where a chain ends of which this is the last entry."""
        return Head(self.number, self.digest)


def deed(action: str, subject: str, before: Any, after: Any) -> Deed:
    """Tell a change of a record by the fields that differ; all of them, if there was none (None) before."""
    old, new = asdict(before) if before is not None else {}, asdict(after)
    changed = [name for name in new if name not in old or old[name] != new[name]]
    return Deed(
        action,
        subject,
        before=_canonical({name: old[name] for name in changed if name in old}),
        after=_canonical({name: new[name] for name in changed}),
    )


def sealed(head: Head, done: Deed, caller: Caller, at: datetime) -> Entry:
    """Make the entry that follows `head`."""
    entry = Entry(head.number + 1, at, **asdict(caller), **asdict(done), previous=head.digest, digest="")
    return replace(entry, digest=_digest(entry))


def broken(entry: Entry, last: Head) -> str:
    """Say why an entry does not continue the chain that ends with `last`; nothing, if it does."""
    if entry.number != last.number + 1:
        return f"entry {last.number + 1} is missing: the next one is {entry.number}"
    if _digest(entry) != entry.digest:
        return f"entry {entry.number} was changed after it was written: its digest does not fit what it says"
    if entry.previous != last.digest:
        return f"entry {entry.number} does not follow the one before: that one was replaced"
    return ""


def misbegun(first: Head, known: str) -> str:
    """Say what is wrong if a chain's first entry is not the one whose digest is known; nothing, if it is.

    `first` is START if there is no entry at all, and `known` is empty where nobody knows.
    """
    if known and first == START:
        return "entry 1 is missing, and all after it"
    if known and first.digest != known:
        return "entry 1 was replaced: the data directory knows another one (database.id)"
    return ""


def cut(last: Head, head: Head) -> str:
    """Say what is wrong if the chain's last entry is not the one that `head` remembers; nothing, if it is."""
    if last.number < head.number:
        return f"entry {last.number + 1} is missing: the last of all was {head.number}"
    if last.number > head.number:
        return f"entry {head.number + 1} was put in: the last of all was {head.number}"
    return "" if last == head else f"entry {last.number} was replaced: the head of the log has another digest"


def _digest(entry: Entry) -> str:
    facts = asdict(entry) | {"at": entry.at.astimezone(UTC)}
    del facts["digest"]
    return sha256(_canonical(facts).encode("ascii")).hexdigest()


def _canonical(facts: dict[str, Any]) -> str:
    """Spell an object in the one way that everybody who computes digests has to: sorted, compact, ASCII."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), default=_spelled)


def _spelled(value: object) -> str:
    # Bytes are nothing that we write, but SQLite gives back whatever somebody put into a column of text.
    return value.isoformat() if isinstance(value, datetime) else repr(value)
