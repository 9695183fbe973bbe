"""The database's history: alembic revisions, run by `runner`."""
