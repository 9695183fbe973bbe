"""How people and chats of networks are called on Matrix: ghost user ids, aliases, and the ids of sends."""

import hashlib
from collections.abc import Iterable

from bridge_core.api.ids import ChatId, NetworkId, RemoteUserId, UserId
from registration.namespaces import Template


class Names:
    """The naming scheme: that of the registration, so that every name falls into its namespaces."""

    def __init__(
        self, server: str, users: Template, aliases: Template, bot: UserId, networks: frozenset[str], secret: bytes
    ) -> None:
        self.server = server
        self.bot = bot
        self._users = users
        self._aliases = aliases
        self._prefixes = tuple(f"@{users.prefix(network)}" for network in sorted(networks))
        self._prefix_of = {network: f"@{users.prefix(network)}" for network in networks}
        self._suffix = f":{server}"
        self._secret = secret

    def ghost(self, network: NetworkId, remote: RemoteUserId) -> UserId:
        """The user id of a person's ghost."""
        return UserId(f"@{self._users.localpart(network, remote, self.server)}:{self.server}")

    def person_of(self, user: str) -> tuple[NetworkId, RemoteUserId] | None:
        """The person whose ghost has the user id, as the id alone tells; None for others' ids and hashed ones."""
        localpart, _, server = user[1:].partition(":")
        for network, prefix in self._prefix_of.items():
            if server == self.server and user.startswith(prefix):
                remote = self._users.remote_id(network, localpart)
                return (NetworkId(network), RemoteUserId(remote)) if remote is not None else None
        return None

    def alias(self, network: NetworkId, chat: ChatId) -> str:
        """The alias localpart of a chat's portal."""
        return self._aliases.localpart(network, chat, self.server)

    def chat_of(self, network: NetworkId, alias: str) -> ChatId | None:
        """The chat whose portal has the alias (`#localpart:server`), None for others' aliases and hashed ones."""
        localpart, _, server = alias[1:].partition(":")
        chat = self._aliases.remote_id(network, localpart) if server == self.server else None
        return ChatId(chat) if chat is not None else None

    def is_ours(self, user: str) -> bool:
        """Whether a user id is the bot's or a ghost's, by its form alone."""
        return (user.startswith(self._prefixes) and user.endswith(self._suffix)) or user == self.bot

    def is_ghost_of(self, user: str, network: NetworkId) -> bool:
        """Whether a user id is that of a ghost of the network, by its form alone."""
        return user.startswith(self._prefix_of[network]) and user.endswith(self._suffix) and user != self.bot

    def send_id(self, *parts: str) -> str:
        """A transaction id: the keyed hash of what makes the send unique, so the same send has the same id for ever."""
        return hashlib.blake2b(joined(parts), key=self._secret, digest_size=15).hexdigest()


def joined(parts: Iterable[str]) -> bytes:
    """All parts as one text to be hashed. Lengths, not separators, keep them apart: strangers choose some of them."""
    return "".join([f"{len(part)}:{part}" for part in parts]).encode("utf-8", "surrogatepass")
