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
from bridges.irc.codec.casemap import fold_rfc1459, fold_rfc7613

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
        self.on_gone: Callable[[str], None] = lambda nick: None
        """Told of each nick under which nobody was met last any more. Must not block."""
        self._host: Host | None = None
        self._of: dict[LoginId, OrderedDict[ChatId, Partner]] = {}
        # What happens to one nick or chat must not cost by how many partners there are.
        self._under: dict[str, dict[tuple[LoginId, ChatId], str]] = {}
        self._having: dict[ChatId, set[LoginId]] = {}
        self._storing: dict[LoginId, asyncio.Task[None]] = {}

    async def load(self, host: Host) -> None:
        """Reads what earlier processes learnt."""
        self._host = host
        for key, value in (await host.kv.items(_PREFIX)).items():
            try:
                found = [(ChatId(str(chat)), Partner(str(nick), str(mask))) for chat, nick, mask in json.loads(value)]
            except (ValueError, TypeError):
                log.warning("irc_partners_unreadable", network=host.network, key=key)
                await host.kv.put(key, None)
            else:
                for chat, partner in found:
                    self._keep(LoginId(key.removeprefix(_PREFIX)), chat, partner)

    def get(self, login: LoginId, chat: ChatId) -> Partner | None:
        """The partner of a private chat, if there was one."""
        chats = self._of.get(login)
        return chats.get(chat) if chats is not None else None

    def nicks(self) -> list[str]:
        """The nicks of all partners, each once."""
        return list(dict.fromkeys(partner.nick for chats in self._of.values() for partner in chats.values()))

    def under(self, nick: str, fold: Callable[[str], str]) -> set[ChatId]:
        """The private chats whose partners were met last under a nick."""
        wanted, near = fold(nick), self._under.get(_coarse(nick), {})
        return {chat for (_, chat), met in near.items() if fold(met) == wanted}

    def chats(self, login: LoginId) -> list[ChatId]:
        """The private chats of a login, the one longest silent first."""
        return list(self._of.get(login, ()))

    def with_chat(self, chat: ChatId) -> list[tuple[LoginId, Partner]]:
        """The logins that have a private chat of this id."""
        return [(login, self._of[login][chat]) for login in self._having.get(chat, ())]

    def met(self, login: LoginId, chat: ChatId, partner: Partner) -> bool:
        """Somebody spoke, or was spoken to; whether that is news. Does not block."""
        before = self.get(login, chat)
        if before is not None and not partner.mask and before.nick == partner.nick:
            partner = before
        self._keep(login, chat, partner)
        while len(self._of[login]) > _PARTNERS_AT_MOST:
            self._drop(login, next(iter(self._of[login])))
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
            self._drop(login, old)
            self.met(login, new, partner)
        return found

    async def forget(self, login: LoginId) -> None:
        """A login is over: nothing of whom it met is kept. Raises BridgeError."""
        for chat in self.chats(login):
            self._drop(login, chat)
        self._of.pop(login, None)
        if self._host is not None:
            await self._host.kv.put(_PREFIX + login, None)

    def _keep(self, login: LoginId, chat: ChatId, partner: Partner) -> None:
        """Whom a login met last of all."""
        self._drop(login, chat, partner.nick)
        self._of.setdefault(login, OrderedDict())[chat] = partner
        self._under.setdefault(_coarse(partner.nick), {})[login, chat] = partner.nick
        self._having.setdefault(chat, set()).add(login)

    def _drop(self, login: LoginId, chat: ChatId, kept: str | None = None) -> None:
        """Forgets somebody; `kept` is the nick under which they are met instead."""
        partner = self.get(login, chat)
        if partner is None:
            return
        del self._of[login][chat]
        key = _coarse(partner.nick)
        near = self._under[key]
        del near[login, chat]
        if not near:
            del self._under[key]
        self._having[chat].discard(login)
        if not self._having[chat]:
            del self._having[chat]
        if partner.nick != kept and partner.nick not in near.values():
            self.on_gone(partner.nick)

    def _store(self, login: LoginId) -> None:
        if self._host is not None and login not in self._storing:
            task = self._host.tasks.spawn(self._put(self._host, login), f"irc {self._host.network} partners")
            self._storing[login] = task

    async def _put(self, host: Host, login: LoginId) -> None:
        self._storing.pop(login, None)  # what changes from here on is stored anew
        chats = self._of.get(login)
        value = [[chat, partner.nick, partner.mask] for chat, partner in chats.items()] if chats is not None else None
        try:
            await host.kv.put(_PREFIX + login, json.dumps(value).encode() if value is not None else None)
        except BridgeError as error:
            log.warning("irc_partners_not_stored", network=host.network, error=str(error))


def _coarse(nick: str) -> str:
    """The same for all nicks that any network takes for one, and for some more."""
    return fold_rfc1459(fold_rfc7613(nick))
