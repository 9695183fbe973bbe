"""What the tests of the email adapter share: a database of their own."""

from tests.unit.store.opening import closing, opened

__all__ = ["closing", "opened"]
