"""What one connection may do, as its server offered it and agreed to it."""

from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.multiline import CAPABILITY, Limits, parse_limits
from bridges.irc.outbox import Outbox
from bridges.irc.state import NetworkState
from bridges.irc.transport import Connection


class Agreed(Outbox):
    """The capabilities of a connection, and what follows from them for its lines."""

    def __init__(self, state: NetworkState, connection: Connection, caps: CapNegotiation, address: str = "") -> None:
        super().__init__(state, connection, address)
        self.caps = caps

    @property
    def labels(self) -> bool:
        """Whether the server answers each line under its label."""
        return "labeled-response" in self.caps.enabled

    @property
    def echoes(self) -> bool:
        """Whether each of our lines comes back under its label, with the id that the server gave it."""
        return self.labels and "echo-message" in self.caps.enabled

    @property
    def several(self) -> Limits | None:
        """What a message of several lines may hold; None where the server takes none (IRCv3 multiline)."""
        caps = self.caps
        if CAPABILITY not in caps.enabled or "batch" not in caps.enabled or not self.tags:
            return None
        return parse_limits(caps.available.get(CAPABILITY, ""))

    @property
    def tags(self) -> bool:
        """Whether we may send tags of our own."""
        return "message-tags" in self.caps.enabled
