"""The API tokens of the store in memory."""

from dataclasses import replace
from datetime import datetime

from headwater_control.core.authority import ApiToken

from tests.fakes.memory_tables import Tables, must_lack


class MemoryTokens:
    """API tokens."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, token: ApiToken) -> None:
        rows = self._tables.change().tokens
        must_lack(rows, token.id, "token")
        must_lack({known.name for known in rows.values()}, token.name, "a token named")
        rows[token.id] = token

    async def get(self, token: str, *, lock: bool = False) -> ApiToken | None:
        return (self._tables.change() if lock else self._tables).tokens.get(token)

    async def all(self) -> tuple[ApiToken, ...]:
        return tuple(self._tables.tokens[key] for key in sorted(self._tables.tokens))

    async def revoke(self, token: str, at: datetime) -> None:
        rows = self._tables.change().tokens
        rows[token] = replace(rows[token], revoked_at=at)

    async def use(self, token: str, at: datetime) -> None:
        rows = self._tables.change().tokens
        rows[token] = replace(rows[token], last_used_at=at)
