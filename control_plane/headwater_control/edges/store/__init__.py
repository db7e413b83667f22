"""The database, on SQLModel: SQLite or PostgreSQL."""

from headwater_control.edges.store.engines import UnusableUrl, parsed
from headwater_control.edges.store.migrate import NoTables, OtherRevision, UnknownRevision
from headwater_control.edges.store.store import open_store

__all__ = ["NoTables", "OtherRevision", "UnknownRevision", "UnusableUrl", "open_store", "parsed"]
