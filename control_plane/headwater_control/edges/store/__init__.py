"""The database, on SQLModel: SQLite or PostgreSQL."""

from headwater_control.edges.store.store import open_store

__all__ = ["open_store"]
