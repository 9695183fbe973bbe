"""Databases for the contract of the stores: SQLite always, PostgreSQL where servers may be used."""

from tests.unit.store.opening import closing, database_url, opened

__all__ = ["closing", "database_url", "opened"]
