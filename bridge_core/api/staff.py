"""What those who run a network may do to this bridge, each on their own network."""

from dataclasses import dataclass
from typing import Protocol

from bridge_core.api.ids import UserId


@dataclass(frozen=True, slots=True)
class Block:
    """Users who may say nothing on the network. `mask` is a user, a server, or a pattern; `at` is milliseconds."""

    mask: str
    by: str
    at: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Kicked:
    """From how many rooms somebody was removed, and how many kept them: there the bridge may not remove anybody."""

    removed: int
    kept: int = 0


class Staff(Protocol):
    """The acts of a network's staff. Whether somebody is staff is for the adapter to find out, beyond doubt.

    `by` is who it is, as the network knows them. Every act is in force and stored when its call returns, is written
    down with who did it, and told to the bridge's admins. All raise RejectedError in words, and TransientError.
    """

    async def block(self, mask: str, by: str, reason: str = "") -> int:
        """Nothing of these users crosses to the network, and they have no connection; how many had one."""

    async def unblock(self, mask: str, by: str) -> None:
        """End the block on exactly this mask."""

    def blocked(self) -> tuple[Block, ...]:
        """Every block of the network, the oldest first."""

    def users(self) -> tuple[UserId, ...]:
        """The Matrix users who have a login on the network, connected or not."""

    async def kick(self, user: UserId, by: str, reason: str = "") -> Kicked:
        """End a user's connection, and remove them from the rooms of the network's chats where the bridge may.

        For ten minutes nothing of them crosses to the network, over the relay either; a restart ends that.
        """

    async def revoke(self, what: str, by: str) -> int:
        """End the links to a file, by such a link; to those of one message, by its id; or to all files that a user
        sent to the network. How many files it was."""

    async def stop(self, by: str, reason: str = "") -> None:
        """Let nothing cross between the network and Matrix any more, until `start` or an admin of the bridge."""

    async def start(self, by: str) -> None:
        """Let it go on."""

    async def note(self, act: str, by: str) -> None:
        """Write down, and tell, what staff had the adapter itself do."""
