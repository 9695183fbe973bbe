"""How people and chats of networks are called on Matrix: ghost user ids, aliases, and the ids of sends."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from bridge_core.api.ids import ChatId, NetworkId, RemoteUserId, UserId

_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/+")
MAX_USER_ID: Final = 255
"""Bytes of a whole user id or alias, sigil and server included (Matrix appendices, §4.2)."""


def escape(text: str) -> str:
    """`text` in characters that a user id may have, reversibly: others become `=xx` for each UTF-8 byte."""
    if _SAFE.issuperset(text):
        return text
    return "".join(char if char in _SAFE else "".join(f"={byte:02x}" for byte in char.encode()) for char in text)


def unescape(text: str) -> str:
    """The text that `escape` was given. Raises ValueError for what it cannot have made."""
    out = bytearray()
    index = 0
    while index < len(text):
        if text[index] == "=":
            out.append(int(text[index + 1 : index + 3], 16))
            index += 3
        else:
            out += text[index].encode()
            index += 1
    return out.decode()


@dataclass(frozen=True)
class Names:
    """The naming scheme. `user_template` and `alias_template` hold `{network}` and `{id}`."""

    server: str
    user_template: str
    alias_template: str
    bot: UserId
    secret: bytes

    @cached_property
    def _prefix(self) -> str:
        return "@" + self.user_template.split("{", 1)[0]

    def _fit(self, localpart: str, original: str) -> str:
        room = MAX_USER_ID - len(self.server.encode()) - 2
        if len(localpart) <= room:
            return localpart
        # Too long for a user id: a hash keeps it unique. '==' never comes from `escape`, so nobody can forge one.
        digest = hashlib.blake2b(original.encode(), digest_size=16).hexdigest()
        return f"{localpart[: room - len(digest) - 2]}=={digest}"

    def ghost(self, network: NetworkId, remote: RemoteUserId) -> UserId:
        """The user id of a person's ghost."""
        localpart = self.user_template.format(network=network, id=escape(remote))
        return UserId(f"@{self._fit(localpart, remote)}:{self.server}")

    def alias(self, network: NetworkId, chat: ChatId) -> str:
        """The alias localpart of a chat's portal."""
        return self._fit(self.alias_template.format(network=network, id=escape(chat)), chat)

    def is_ours(self, user: str) -> bool:
        """Whether a user id is the bot's or a ghost's, by its form alone."""
        return user == self.bot or (user.startswith(self._prefix) and user.endswith(":" + self.server))

    def send_id(self, *parts: str) -> str:
        """A transaction id: the keyed hash of what makes the send unique, so the same send has the same id for ever."""
        text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self.secret, digest_size=15).hexdigest()
