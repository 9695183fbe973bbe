"""One try at one delivery, as an adapter sees it."""

from dataclasses import dataclass

from bridge_core.engine.names import Names
from bridge_core.engine.ports import Delivery, Journal


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """The `Attempt` of the contract, over its delivery in the journal."""

    key: str
    delivery: Delivery
    journal: Journal

    @property
    def number(self) -> int:
        """1 for the first try."""
        return max(1, self.delivery.attempts)

    @property
    def state(self) -> bytes | None:
        """What an earlier try saved."""
        return self.delivery.saved

    async def save(self, state: bytes) -> None:
        """Commit `state` before going on."""
        self.delivery.saved = state
        await self.journal.attempt([self.delivery])


@dataclass(frozen=True, slots=True)
class Attempts:
    """Makes attempts."""

    names: Names
    journal: Journal

    def make(self, delivery: Delivery) -> StoredAttempt:
        """The attempt for a delivery. Its key is the same for each try, also over restarts."""
        return StoredAttempt(
            self.names.send_id("attempt", str(delivery.id), str(delivery.first_attempt_at)), delivery, self.journal
        )
