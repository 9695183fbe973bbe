"""People of IRC who ask to be let into a channel (KNOCK): told in its rooms, where moderators can invite them."""

import re
from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.events import Membership, RemoteMember, RemoteSender
from bridge_core.api.ids import ChatId
from bridges.irc.allowance import Allowance
from bridges.irc.attendance import Events
from bridges.irc.codec.message import Line
from bridges.irc.state import NetworkState
from bridges.irc.to_matrix import person_id

log = structlog.get_logger(__name__)
_BURST: Final = 10.0
_PER_SECOND: Final = 0.1
_MASK: Final = re.compile(r"([^\s!@]+)![^\s!@]*@\S+")
_ASKS: Final = re.compile(r"(?:is KNOCKing: |has asked for an invite\W*|requested a channel invite)(.*)", re.DOTALL)
_NOTICES: Final = (
    re.compile(r"User (?P<nick>[^\s!@]+) is KNOCKing on \S+ \((?P<reason>.*)\)", re.DOTALL),
    re.compile(r"\[Knock\] by (?P<nick>[^\s!@]+)![^\s!@]*@\S+ \((?P<reason>.*)\)", re.DOTALL),
)
"""As InspIRCd and UnrealIRCd tell a channel's operators."""


class Knocks:
    """Of one session of the observer: servers tell operators only, so the bot hears it where it is one."""

    def __init__(self, state: NetworkState, events: Events) -> None:
        self._state = state
        self._events = events
        self._allowance = Allowance(state.running.clock.monotonic, _BURST, _PER_SECOND)

    def handlers(self) -> dict[str, Callable[[Line], None]]:
        """The numerics that are read here."""
        return {"710": self._told}

    def _told(self, line: Line) -> None:
        """`710 CHANNEL CHANNEL nick!user@host :has asked for an invite` (ratbox, solanum, InspIRCd, Ergo)."""
        chat = next((found for text in line.params[:-1] if (found := self._state.chat_of(text)) is not None), None)
        mask = next((match for text in line.params[:-1] if (match := _MASK.fullmatch(text)) is not None), None)
        asks = _ASKS.fullmatch(line.param(-1))
        if chat is not None and mask is not None:
            self._asks(chat, mask[1], asks[1] if asks is not None else "")

    def noticed(self, line: Line) -> None:
        """A NOTICE of a server to a channel or its operators. Who is no server cannot have said it."""
        chat = self._state.chat_of(self._state.isupport.split_target(line.param(0))[1])
        if chat is None or line.command != "NOTICE":
            return
        for words in _NOTICES:
            found = words.fullmatch(line.param(1))
            if found is not None:
                self._asks(chat, found["nick"], found["reason"])
                return

    def _asks(self, chat: ChatId, nick: str, reason: str) -> None:
        state = self._state
        if state.own(nick.encode("utf-8", "surrogateescape")) is not None:
            return  # our own users knock at the room, too
        if not self._allowance.take():
            log.info("irc_knocks_too_fast", network=state.network, chat=chat)
            return
        person = state.roster.get(nick)
        known = person is not None and person.nick == nick
        sender = person.sender if person is not None and known else RemoteSender(person_id(state, nick), nick)
        self._events.offer(RemoteMember(chat, sender, Membership.KNOCK, reason=" ".join(reason.split())[:200] or None))
