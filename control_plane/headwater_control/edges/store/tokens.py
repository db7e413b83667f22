"""The table and repository of API tokens."""

from dataclasses import fields
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from headwater_control.core.authority import ApiToken, Role
from headwater_control.edges.store.columns import LabelSet, Name, Utc
from headwater_control.edges.store.rows import Row, Rows
from headwater_control.ports import Labels


class TokenRow(SQLModel, table=True):
    """One token. Its secret is nowhere."""

    __tablename__ = "token"
    __table_args__ = (sa.UniqueConstraint("name", name="uq_token_name"),)

    id: str = Field(primary_key=True, sa_type=Name)
    name: str = Field(sa_type=Name)
    hash: str = Field(sa_type=Name)
    role: str = Field(sa_type=Name)
    labels: Labels = Field(sa_type=LabelSet)
    created_at: datetime = Field(sa_type=Utc)
    created_by: str = Field(sa_type=Name)
    expires_at: datetime | None = Field(sa_type=Utc)
    revoked_at: datetime | None = Field(sa_type=Utc)
    last_used_at: datetime | None = Field(sa_type=Utc)


_TABLE = SQLModel.metadata.tables["token"]
_C = _TABLE.c
_FIELDS = [field.name for field in fields(ApiToken)]
_QUERY = sa.select(*(_C[name] for name in _FIELDS))  # in the record's order


class SqlTokens:
    """API tokens."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def add(self, token: ApiToken) -> None:
        """Insert; raise `AlreadyExists` if the id or the name is taken."""
        values = {name: getattr(token, name) for name in _FIELDS} | {"role": token.role.value}
        async with self._rows.all_or_nothing():
            await self._rows.change(sa.insert(_TABLE).values(values))

    async def get(self, token: str, *, lock: bool = False) -> ApiToken | None:
        """Read one by id."""
        row = await self._rows.one(_QUERY.where(_C.id == token), lock=lock)
        return None if row is None else _token(row)

    async def all(self) -> tuple[ApiToken, ...]:
        """List them, revoked ones too, by id."""
        return tuple(_token(row) for row in await self._rows.all(_QUERY.order_by(_C.id)))

    async def revoke(self, token: str, at: datetime) -> None:
        """Note that one is not valid any more; raise `KeyError` if there is none."""
        await self._set(token, revoked_at=at)

    async def use(self, token: str, at: datetime) -> None:
        """Note that one was used; raise `KeyError` if there is none."""
        await self._set(token, last_used_at=at)

    async def _set(self, token: str, **values: datetime) -> None:
        if await self._rows.change(sa.update(_TABLE).where(_C.id == token).values(values)) != 1:
            raise KeyError(token)


def _token(row: Row) -> ApiToken:
    values = row._asdict()
    return ApiToken(**values | {"role": Role(values["role"])})
