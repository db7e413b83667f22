"""The database, on SQLModel: SQLite or PostgreSQL."""
