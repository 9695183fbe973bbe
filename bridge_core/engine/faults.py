"""Named places at which a test may end the process."""

from typing import Protocol


class FaultPoints(Protocol):
    """Told that a named place was reached, from whatever thread reached it."""

    def hit(self, name: str) -> None:
        """Return, or end the process. Must be cheap and must not raise."""


class NoFaults:
    """Does nothing: what runs outside tests."""

    def hit(self, name: str) -> None:
        """Return."""
