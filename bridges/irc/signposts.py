"""What a channel itself says of being bridged: that it is not to be, in its topic or by a key of its metadata."""

from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.ids import ChatId
from bridge_core.api.network import Consent
from bridges.irc.codec.message import Line
from bridges.irc.floor import Floor
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_NO: Final = frozenset(("no", "deny", "off", "none", "false", "0"))


class Signposts:
    """Of one session of the observer. A mark says no, and never yes: it can be copied, or older than who is operator.

    Where a channel was only asked to be bridged, any mark is a no. Where it is bridged, the mark must be an operator's:
    set by one now, or set at all where only operators can (mode t; metadata, which servers let nobody else set).
    """

    def __init__(self, state: NetworkState, floor: Floor) -> None:
        self._state = state
        self._floor = floor
        self._doubtful: set[ChatId] = set()
        """Channels whose topic had the mark when we came, while it is not known yet who can set it."""

    def handlers(self, modes: Callable[[Line], None]) -> dict[str, Callable[[Line], None]]:
        """The numeric that tells all modes of a channel, which `modes` reads."""

        def told(line: Line) -> None:
            modes(line)
            chat = self._state.chat_of(line.param(1))
            if chat is not None and chat in self._doubtful:
                self._judge(chat)

        return {"324": told}

    def topic(self, chat: ChatId, topic: str, line: Line | None) -> None:
        """A channel's topic, as it is set by `line`, or (None) as the server tells it to who comes."""
        mark = self._state.config.consent.topic_mark
        self._doubtful.discard(chat)
        if not mark or mark.casefold() not in topic.casefold():
            return
        if line is not None and self._floor.is_operator(chat, line):
            self._floor.marked(chat, line, f"put {mark} into the topic")
            return
        self._doubtful.add(chat)
        self._judge(chat)

    def metadata(self, chat: ChatId, key: str, value: str, line: Line) -> None:
        """A key of a channel (IRCv3 metadata)."""
        ours = self._state.config.consent.metadata_key
        if ours and key.lower() == ours and value.strip().lower() in _NO:
            self._floor.marked(chat, line, f"set {ours} to {value.strip()[:20]}")

    def _judge(self, chat: ChatId) -> None:
        record, regime = self._state.consents.get(chat), self._state.regimes.get(chat)
        asked = record is not None and record.word is Consent.ASKED
        if asked or (regime is not None and "t" in regime.flags):
            self._doubtful.discard(chat)
            self._floor.marked(chat, None, "has the mark in its topic")
        elif regime is not None:
            self._doubtful.discard(chat)
            log.info("irc_topic_mark_of_anybody", network=self._state.network, chat=chat)
