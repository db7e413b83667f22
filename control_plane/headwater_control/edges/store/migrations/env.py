"""What Alembic runs: on the connection, and in the transaction, that migrate.py opened."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

from headwater_control.edges.store import store  # noqa: F401  # it imports every table
from headwater_control.edges.store.columns import Name


def plainly(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write down what the database sees: a revision must mean the same when our column types have changed."""
    if kind == "type" and isinstance(item, Name):
        return 'sa.String().with_variant(sa.String(collation="C"), "postgresql")'
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


connection: sa.Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=plainly,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
