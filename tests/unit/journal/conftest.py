"""The same databases as for the stores."""

from tests.unit.store.opening import closing, database_url, opened

__all__ = ["closing", "database_url", "opened"]
