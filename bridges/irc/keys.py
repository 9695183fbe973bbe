"""Keys of channels: from the configuration, from a command, or as the server shows them; sealed at rest."""

from collections.abc import Mapping
from typing import Final

import structlog
from pydantic import SecretStr

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId
from bridges.irc.nicks import BadName, check_key

log = structlog.get_logger(__name__)

_PREFIX: Final = "key/"
_KEYS_AT_MOST: Final = 10_000


class Keys:
    """What a JOIN needs to say. A key that was learnt later is the one that counts."""

    def __init__(self) -> None:
        self._host: Host | None = None
        self._keys: dict[ChatId, str] = {}

    async def load(self, host: Host, configured: Mapping[ChatId, SecretStr]) -> None:
        """Reads the configured and the stored ones. Raises BridgeError for a configured one that is none."""
        self._host = host
        for chat, key in configured.items():
            try:
                self._keys[chat] = check_key(key.get_secret_value())
            except BadName as error:
                raise BridgeError(f"the key of {chat} in network {host.network}: {error}") from error
        for name, value in (await host.secrets.items(_PREFIX)).items():
            self._keys[ChatId(name.removeprefix(_PREFIX))] = value.decode("utf-8", "replace")

    def of(self, chat: ChatId) -> str | None:
        """The key of a channel; None for one without, or whose key is not known."""
        return self._keys.get(chat)

    async def keep(self, chat: ChatId, key: str) -> None:
        """Keeps a key (empty: forgets it). Returns when it is stored. Raises BadName."""
        assert self._host is not None
        if key:
            check_key(key)
            if len(self._keys) >= _KEYS_AT_MOST and chat not in self._keys:
                raise BadName(f"there are {_KEYS_AT_MOST} keys already")
            self._keys[chat] = key
        else:
            self._keys.pop(chat, None)
        await self._host.secrets.put(_PREFIX + chat, key.encode() if key else None)

    def learned(self, chat: ChatId, key: str) -> None:
        """The channel has this key now, as its members are shown: rejoining needs it."""
        if self._keys.get(chat) == key or self._host is None:
            return
        _ = self._host.tasks.spawn(self._learn(chat, key), "irc key")

    async def _learn(self, chat: ChatId, key: str) -> None:
        try:
            await self.keep(chat, key)
        except BadName:
            log.info("irc_key_unusable", chat=chat)
        except BridgeError as error:
            log.warning("irc_key_not_stored", chat=chat, error=str(error))
