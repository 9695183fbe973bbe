"""Channels that forward to another one (numeric 470): followed where the admin wants that and the other one agrees."""

import asyncio
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import RemoteChatMoved
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.network import Consent
from bridges.irc.codec.message import Line
from bridges.irc.floor import Exit
from bridges.irc.nicks import BadName
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_AT_MOST: Final = 100


class Forwards:
    """Of one session of the observer. Nobody in the other channel has asked to be bridged: its operators are asked as
    those of every channel are (`consent`), and nothing of it crosses before they agree."""

    def __init__(self, state: NetworkState, exit_: Exit) -> None:
        self._state = state
        self._exit = exit_
        self._asked: dict[ChatId, ChatId] = {}
        """Channels whose operators have not answered, with the one that forwards there."""
        self._running: asyncio.Task[None] | None = None

    def told(self, chat: ChatId, line: Line) -> None:
        """`470 me #old #new`: what becomes of it is found out in the background."""
        state = self._state
        if state.config.channels.forwards != "follow" or chat in state.consents.closed:
            return
        try:
            new = state.chat(line.param(2))
        except BadName:
            return
        if new != chat:
            self._running = state.running.tasks.spawn(self._follow(chat, new), f"irc {state.network} forward")

    def agreed(self, new: ChatId) -> bool:
        """An operator of a channel has agreed; whether it takes over the rooms of one that forwards to it."""
        chat = self._asked.pop(new, None)
        if chat is None:
            return False
        self._move(chat, new)
        return True

    async def _follow(self, chat: ChatId, new: ChatId) -> None:
        state = self._state
        try:
            word = await state.consents.ask(new, UserId(f"The bridge of {chat}, which forwards here,"))
        except BridgeError as error:
            log.info("irc_forward_not_asked", network=state.network, chat=chat, new=new, error=str(error))
            return
        if word in (Consent.GRANTED, Consent.NOT_NEEDED) and new not in state.consents.closed:
            self._move(chat, new)
        elif word is Consent.ASKED and (new in self._asked or len(self._asked) < _AT_MOST):
            self._asked[new] = chat
            if state.consents.may_enter(new):
                self._exit.want(new)
        else:
            log.info("irc_forward_refused", network=state.network, chat=chat, new=new)

    def _move(self, chat: ChatId, new: ChatId) -> None:
        log.info("irc_forward_followed", network=self._state.network, chat=chat, new=new)
        self._exit.offer(RemoteChatMoved(chat, new))
