"""Which channels a puppet is in, wants to be in, and is kept out of."""

from collections.abc import Collection, Iterator
from typing import Final

import structlog

from bridge_core.api.ids import ChatId
from bridges.irc.codec.message import Line
from bridges.irc.joins import join_lines
from bridges.irc.nicks import BadName
from bridges.irc.outlet import Rank, join_cost
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_CHANNELS_AT_MOST: Final = 1000
_FULL: Final = frozenset(("405", "437", "471"))
"""Errors of JOIN that are nobody's will: the relay speaks meanwhile."""


class Membership:
    """The channels of one puppet. Times are of the monotonic clock; what is wanted outlives a connection."""

    __slots__ = ("_asked", "_barred", "_joined", "_state", "_wanted")

    def __init__(self, state: NetworkState) -> None:
        self._state = state
        self._wanted: dict[ChatId, None] = {}
        self._joined: set[ChatId] = set()
        self._asked: dict[ChatId, float] = {}
        self._barred: dict[ChatId, tuple[str, float]] = {}

    def __contains__(self, chat: ChatId) -> bool:
        return chat in self._joined

    def __iter__(self) -> Iterator[ChatId]:
        return iter(self._wanted)

    @property
    def wanted(self) -> Collection[ChatId]:
        """The channels to be in."""
        return self._wanted.keys()

    def barred(self, chat: ChatId) -> str | None:
        """Why a channel does not want this user now; None when it is not known to."""
        found = self._barred.get(chat)
        if found is None:
            return None
        if found[1] <= self._now():
            del self._barred[chat]
            return None
        return found[0]

    def welcome(self, chat: ChatId) -> None:
        """A channel wants this user after all."""
        self._barred.pop(chat, None)
        self._asked.pop(chat, None)

    def want(self, chat: ChatId) -> None:
        """To be joined as soon as there is a connection."""
        if self._state.is_channel(chat) and (chat in self._wanted or len(self._wanted) < _CHANNELS_AT_MOST):
            self._wanted[chat] = None

    def join(self, session: Session, chats: list[ChatId]) -> None:
        """Asks to be let into wanted channels, unless that was asked a moment ago."""
        now = self._now()
        due = [
            chat
            for chat in chats
            if chat in self._wanted and chat not in self._joined and self._asked.get(chat, 0.0) <= now
        ]
        for group, line in join_lines(due, self._state.isupport, self._state.keys.of):
            if not session.queue(line, Rank.COMMAND, join_cost(len(group))):
                log.debug("irc_join_put_off", network=self._state.network)
                return
            wait = session.outlet.delay if session.outlet is not None else 0.0
            self._asked.update(dict.fromkeys(group, now + wait + self._state.config.join_timeout))

    def drop(self, session: Session | None, chat: ChatId, reason: str) -> None:
        """Not to be in any more: its user left the room."""
        self._wanted.pop(chat, None)
        self._asked.pop(chat, None)
        if chat in self._joined and session is not None and session.up:
            session.tell("PART", chat, reason)
        self._joined.discard(chat)  # not when PART comes back: who is to speak there again must send JOIN behind it

    def disconnected(self) -> None:
        """Out of all channels."""
        self._joined.clear()
        self._asked.clear()

    # Lines

    def on_rename(self, line: Line) -> None:
        """RENAME: whoever was in the channel still is (IRCv3 channel-rename)."""
        try:
            old, new = self._state.chat_id(line.param(0)), self._state.chat_id(line.param(1))
        except BadName:
            return
        if old in self._joined:
            self._joined.discard(old)
            self._joined.add(new)
        if old in self._wanted:
            del self._wanted[old]
            self._wanted[new] = None

    def on_join(self, session: Session, line: Line) -> ChatId | None:
        """JOIN: our own are answers; the channel that we are in now."""
        if line.source is None or line.source.nick != session.nick:
            return None
        session.identity.prefixed(line)
        chat = self._state.chat_of(line.param(0))
        if chat is None or chat not in self._wanted:
            session.tell("PART", line.param(0))
            return None
        self._asked.pop(chat, None)
        self._joined.add(chat)
        return chat

    def on_part(self, session: Session, line: Line) -> None:
        """PART: services may make us leave."""
        chat = self._state.chat_of(line.param(0))
        if chat is not None and line.source is not None and line.source.nick == session.nick:
            self._joined.discard(chat)

    def on_kick(self, session: Session, line: Line) -> None:
        """KICK: the channel does not want this user for now."""
        chat = self._state.chat_of(line.param(0))
        if chat is not None and line.param(1) == session.nick:
            by = line.source.nick if line.source is not None else "the server"
            self._joined.discard(chat)
            self._bar(session, chat, f"you were kicked from the channel by {by}: {line.param(2)}")

    def on_error(self, session: Session, line: Line) -> None:
        """An error that names a channel we asked for, or hold to be in."""
        chat = self._state.chat_of(line.param(1))
        if chat is None:
            return
        if line.command == "442":
            self._joined.discard(chat)
        elif chat in self._asked and chat not in self._joined:
            if line.command in _FULL:
                self._asked[chat] = self._now() + self._state.config.join_retry
                return
            del self._asked[chat]
            self._bar(session, chat, f"the channel does not let you in: {line.param(-1)}")

    def _bar(self, session: Session, chat: ChatId, reason: str) -> None:
        """For a while this user's messages to the channel go back to them."""
        self._wanted.pop(chat, None)
        self._barred = {one: found for one, found in self._barred.items() if found[1] > self._now()}
        self._barred[chat] = (reason, self._now() + self._state.config.kick_pause)
        log.info("irc_puppet_barred", network=self._state.network, user=session.key, chat=chat, reason=reason)

    def _now(self) -> float:
        return self._state.running.clock.monotonic()
