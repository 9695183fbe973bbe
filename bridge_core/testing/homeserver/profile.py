"""What a fake homeserver can do, and the appservice it knows."""

import re
from dataclasses import dataclass, field

__all__ = ["FakeAppservice", "FakeProfile"]


@dataclass(frozen=True, slots=True)
class FakeProfile:
    """The abilities of a homeserver; the defaults are those of Synapse 1.163."""

    masquerading: bool = True
    """Whether `?device_id=` is understood and makes transaction ids last over a restart."""
    devices: bool = True
    """Whether an appservice can create devices by PUT /devices."""
    ping: bool = True
    async_media: bool = True
    """Whether a media address can be created before its bytes are uploaded."""
    deletes_media: bool = False
    """Whether the bot is an admin of the homeserver, who may delete files."""
    room_version: str = "12"
    max_upload: int = 50 * 1024 * 1024
    durable_numbers: bool = False
    """Whether transaction numbers go on after a restart; Synapse on SQLite starts from 1 again."""
    first_retry: float = 0.05
    """Seconds to the first retry of a transaction, doubling up to `last_retry` (Synapse: 2 and 512)."""
    last_retry: float = 1.0

    @classmethod
    def basic(cls) -> "FakeProfile":
        """A homeserver that has only what the specification had years ago."""
        return cls(masquerading=False, devices=False, ping=False, async_media=False, room_version="10")


@dataclass(slots=True)
class FakeAppservice:
    """A registration. `url` may be set later, when the bridge listens; None means that nothing is pushed."""

    id: str = "matrix-bridge"
    url: str | None = None
    as_token: str = field(default="as-token-of-the-fake", repr=False)
    hs_token: str = field(default="hs-token-of-the-fake", repr=False)
    sender_localpart: str = "bridgebot"
    bot: str | None = None
    """Localpart of the bot where it is not the sender."""
    users: str = "_.*"
    """Pattern of localparts in the user namespace."""
    aliases: str = "_.*"
    """Pattern of localparts in the alias namespace."""
    ephemeral: bool = True
    encryption: bool = False
    """Whether to-device messages, device lists and key counts come with transactions (MSC3202, MSC4203)."""

    def owns_user(self, user: str, server_name: str) -> bool:
        """Whether a user is the bot or in the namespace."""
        localpart, _, server = user[1:].partition(":")
        if server != server_name or not user.startswith("@"):
            return False
        return localpart in (self.sender_localpart, self.bot) or re.fullmatch(self.users, localpart) is not None

    def owns_alias(self, alias: str, server_name: str) -> bool:
        """Whether an alias is in the namespace."""
        localpart, _, server = alias[1:].partition(":")
        return server == server_name and re.fullmatch(self.aliases, localpart) is not None
