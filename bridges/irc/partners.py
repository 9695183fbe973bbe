"""With whom our users talk in private: under which nick each was met last. Kept over restarts."""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, LoginId

log = structlog.get_logger(__name__)
_PREFIX: Final = "partners/"
_PARTNERS_AT_MOST: Final = 200
"""Of one login: the one who was met longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class Partner:
    """Somebody met: their nick then, and `user@host` (empty where that was not seen)."""

    nick: str
    mask: str = ""


class Partners:
    """The partners of all logins by chat. What cannot be stored is still known until the next start."""

    def __init__(self) -> None:
        self._host: Host | None = None
        self._of: dict[LoginId, OrderedDict[ChatId, Partner]] = {}

    async def load(self, host: Host) -> None:
        """Reads what earlier processes learnt."""
        self._host = host
        for key, value in (await host.kv.items(_PREFIX)).items():
            try:
                found = {ChatId(str(chat)): Partner(str(nick), str(mask)) for chat, nick, mask in json.loads(value)}
            except (ValueError, TypeError):
                log.warning("irc_partners_unreadable", network=host.network, key=key)
                await host.kv.put(key, None)
            else:
                self._of[LoginId(key.removeprefix(_PREFIX))] = OrderedDict(found)

    def get(self, login: LoginId, chat: ChatId) -> Partner | None:
        """The partner of a private chat, if there was one."""
        return self._of.get(login, {}).get(chat)

    def nicks(self) -> list[str]:
        """The nicks of all partners, each once."""
        return list(dict.fromkeys(partner.nick for chats in self._of.values() for partner in chats.values()))

    def chats(self, login: LoginId) -> list[ChatId]:
        """The private chats of a login, the one longest silent first."""
        return list(self._of.get(login, ()))

    def with_chat(self, chat: ChatId) -> list[tuple[LoginId, Partner]]:
        """The logins that have a private chat of this id."""
        return [(login, chats[chat]) for login, chats in self._of.items() if chat in chats]

    def met(self, login: LoginId, chat: ChatId, partner: Partner) -> bool:
        """Somebody spoke, or was spoken to; whether that is news. Does not block."""
        chats = self._of.setdefault(login, OrderedDict())
        before = chats.get(chat)
        if before is not None and not partner.mask and before.nick == partner.nick:
            partner = before
        chats[chat] = partner
        chats.move_to_end(chat)
        while len(chats) > _PARTNERS_AT_MOST:
            chats.popitem(last=False)
        if before != partner:
            self._store(login)
        return before != partner

    def moved(self, login: LoginId, old: ChatId, new: ChatId, partner: Partner) -> None:
        """The partner of a chat is another id now. Does not block."""
        self._of.get(login, OrderedDict()).pop(old, None)
        self.met(login, new, partner)

    def _store(self, login: LoginId) -> None:
        if self._host is not None:
            self._host.tasks.spawn(self._put(self._host, login), f"irc {self._host.network} partners")

    async def _put(self, host: Host, login: LoginId) -> None:
        value = [[chat, partner.nick, partner.mask] for chat, partner in self._of.get(login, {}).items()]
        try:
            await host.kv.put(_PREFIX + login, json.dumps(value).encode())
        except BridgeError as error:
            log.warning("irc_partners_not_stored", network=host.network, error=str(error))
