"""Use cases around the audit log: read it, and verify it."""

from dataclasses import dataclass

from headwater_control.core.audit import START, Entry, Head, broken, cut, misbegun
from headwater_control.ports import Transaction
from headwater_control.service.authority import must_reach
from headwater_control.service.world import World

_PAGE = 500  # entries in memory at a time
_OF_ALL = "the audit log tells of everything"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many entries hold together, the digest the log ends with, and the first problem (none: empty)."""

    entries: int
    head: str
    problem: str


async def list_entries(world: World, after: int | None, limit: int) -> tuple[Entry, ...]:
    """List the `limit` entries that follow number `after`, oldest first; None: the newest ones. Raises `Forbidden`."""
    must_reach((), _OF_ALL)
    async with world.store.read() as tx:
        if after is None:
            after = max(0, (await tx.audit.head()).number - limit)
        return await tx.audit.entries(after, limit)


async def verify(world: World) -> Verdict:
    """Go through the whole log, page by page; raise `Forbidden`."""
    must_reach((), _OF_ALL)
    async with world.store.read() as tx:
        head = await tx.audit.head()
        last, problem = await _walked(tx, world.settings.first_entry)
    return Verdict(last.number, head.digest, problem or cut(last, head))


async def _walked(tx: Transaction, first: str) -> tuple[Head, str]:
    """Follow the chain to its end, or to the first problem."""
    last = START
    while True:
        try:
            page = await tx.audit.entries(last.number, _PAGE)
        except (ValueError, TypeError) as error:  # SQLite takes anything into a column of times
            return last, f"an entry after number {last.number} was changed after it was written: {error}"
        for entry in page:
            if problem := broken(entry, last) or (misbegun(entry.head, first) if last == START else ""):
                return last, problem
            last = entry.head
        if not page:
            return last, misbegun(START, first) if last == START else ""
