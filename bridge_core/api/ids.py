"""Names of things, typed so that one kind cannot stand in for another. The core never looks inside a remote id."""

from dataclasses import dataclass
from typing import NewType

NetworkId = NewType("NetworkId", str)
"""Name of one configured network, such as `libera`: the key under `networks:` in the configuration."""
ChatId = NewType("ChatId", str)
"""A channel, group or conversation on a network, in the adapter's canonical (case-folded) form."""
RemoteUserId = NewType("RemoteUserId", str)
"""A person on a network, in the adapter's canonical (case-folded) form."""
MessageId = NewType("MessageId", str)
"""One message on a network. Unique within its chat, or the adapter must make it so."""
LoginId = NewType("LoginId", str)
"""One account of one Matrix user on a network."""

UserId = NewType("UserId", str)
"""A Matrix user id, `@local:server`."""
RoomId = NewType("RoomId", str)
"""A Matrix room id, `!opaque`: since room version 12 it names no server, so never take it apart."""
EventId = NewType("EventId", str)
"""A Matrix event id, `$opaque`."""


@dataclass(frozen=True, slots=True)
class PortalKey:
    """Which chat a portal stands for: network, chat and, where each login has a portal of its own, the receiver."""

    network: NetworkId
    chat: ChatId
    receiver: LoginId | None = None

    def lane(self) -> str:
        """The name of this portal's lane, stable over restarts."""
        return f"{self.network}\x1f{self.chat}\x1f{self.receiver or ''}"
