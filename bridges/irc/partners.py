"""With whom our users talk in private: under which nick each was met last. Kept over restarts."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
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
        self.on_met: Callable[[str], None] = lambda nick: None
        """Told of each nick under which somebody is met, when that is news. Must not block."""
        self._host: Host | None = None
        self._of: dict[LoginId, OrderedDict[ChatId, Partner]] = {}
        self._storing: dict[LoginId, asyncio.Task[None]] = {}

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
        chats = self._of.get(login)
        return chats.get(chat) if chats is not None else None

    def nicks(self) -> list[str]:
        """The nicks of all partners, each once."""
        return list(dict.fromkeys(partner.nick for chats in self._of.values() for partner in chats.values()))

    def under(self, nick: str, fold: Callable[[str], str]) -> set[ChatId]:
        """The private chats whose partners were met last under a nick."""
        wanted = fold(nick)
        return {chat for chats in self._of.values() for chat, partner in chats.items() if fold(partner.nick) == wanted}

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
            self.on_met(partner.nick)
        return before != partner

    def follow(self, old: ChatId, new: ChatId, partner: Partner) -> list[LoginId]:
        """Somebody without an account changed their nick: the logins whose private chats go with them.

        Only where this is who wrote there last (by their mask), and never into a chat that somebody else has left
        there: who takes a nick is not given what was said to its last owner. Does not block.
        """
        found = [
            login
            for login, before in self.with_chat(old)
            if before.mask and before.mask == partner.mask and new not in self._of[login]
        ]
        for login in found:
            del self._of[login][old]
            self.met(login, new, partner)
        return found

    def _store(self, login: LoginId) -> None:
        if self._host is not None and login not in self._storing:
            task = self._host.tasks.spawn(self._put(self._host, login), f"irc {self._host.network} partners")
            self._storing[login] = task

    async def _put(self, host: Host, login: LoginId) -> None:
        self._storing.pop(login, None)  # what changes from here on is stored anew
        value = [[chat, partner.nick, partner.mask] for chat, partner in self._of.get(login, {}).items()]
        try:
            await host.kv.put(_PREFIX + login, json.dumps(value).encode())
        except BridgeError as error:
            log.warning("irc_partners_not_stored", network=host.network, error=str(error))
