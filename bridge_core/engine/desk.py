"""The journal as an admin sees it while the bridge runs. Implemented in `journal`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge_core.engine.ports import Direction


@dataclass(frozen=True, slots=True)
class DeskEntry:
    """An entry without its contents. Times are milliseconds since 1970."""

    id: int
    state: str
    direction: Direction
    network: str
    lane: str
    received_at: int
    attempts: int
    next_attempt_at: int
    error: str


@dataclass(frozen=True, slots=True)
class DeskDelivery:
    """A delivery of it that has not ended, or is dead."""

    id: int
    network: str
    state: str
    attempts: int
    error: str


class Desk(Protocol):
    """What an admin may do. Each waits for the database; TransientError when it cannot be used now."""

    async def entries(self, state: str, network: str | None, after: int, limit: int) -> list[DeskEntry]:
        """Entries in the order of their ids. `state`: pending, done, dead."""

    async def entry(self, entry: int) -> tuple[DeskEntry, list[DeskDelivery]] | None:
        """One entry."""

    async def replay(self, entries: Sequence[int]) -> list[DeskEntry]:
        """Let dead entries wait again; those that were dead. They enter their lanes at once."""

    async def drop(self, entries: Sequence[int]) -> list[int]:
        """End dead entries as rejected and erase their contents; those that were dead."""
