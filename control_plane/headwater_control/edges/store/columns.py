"""Column types that give back exactly what was put in, on both databases."""

import math
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

INT64_MAX = 2**63 - 1


class Utc(TypeDecorator[datetime]):
    """An aware time, in UTC: SQLite keeps no zone, and would give back a naive one."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time, which could mean anything."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone: pass an aware time")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the zone back."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


class Name(TypeDecorator[str]):
    """An id, name or digest, ordered by bytes: a locale's order differs between databases, and changes with libc."""

    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Ask PostgreSQL for the order that SQLite has anyway."""
        return dialect.type_descriptor(sa.String(collation="C") if dialect.name == "postgresql" else sa.String())


class Words(TypeDecorator[str]):
    """Text for people, often made by a device: what no database takes (NUL, lone surrogates) is replaced."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace rather than refuse: one odd message must not lose the batch it came in."""
        return value and value.encode("utf-8", "replace").decode().replace("\x00", "?")


class Whole(TypeDecorator[int]):
    """A whole number. The wire's uint64 reaches beyond a column's 64 bits with sign: more is held at the limit."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Hold at the limit, so that one hostile number does not lose the batch it came in."""
        return value and max(-INT64_MAX, min(value, INT64_MAX))


class Real(TypeDecorator[float]):
    """A float, in a column that may be NULL: SQLite turns NaN into that."""

    impl = sa.Double
    cache_ok = True

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        """NULL becomes NaN again."""
        return math.nan if value is None else value


class Record(TypeDecorator[Any]):
    """A frozen dataclass, or a tuple of some, as JSON. Non-finite floats, which JSON lacks, are kept as strings."""

    impl = sa.JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Take it apart."""
        return None if value is None else _finite(self._adapter.dump_python(value, mode="json"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Put it together: fields an older release did not have get their defaults."""
        return None if value is None else self._adapter.validate_python(value)


class LabelSet(TypeDecorator[tuple[tuple[str, str], ...]]):
    """Labels as one JSON object, so that both databases can look into it."""

    impl = sa.JSON
    cache_ok = True

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """Let `column["site"]` be what it is for JSON."""
        return self.impl_instance.coerce_compared_value(op, value)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Pairs to object."""
        return dict(value or ())

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[tuple[str, str], ...]:
        """Object to pairs, sorted by key."""
        return tuple(sorted(value.items()))


def _finite(data: Any) -> Any:
    match data:
        case dict():
            return {key: _finite(value) for key, value in data.items()}
        case list():
            return [_finite(value) for value in data]
        case float() if not math.isfinite(data):
            return str(data)
        case _:
            return data
