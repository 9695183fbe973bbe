"""Channels that get another name: their rooms, members and connections stay (IRCv3 draft/channel-rename)."""

from collections.abc import Callable

import structlog

from bridge_core.api.events import RemoteChatMoved, RemoteEvent, RemoteSender
from bridges.irc.codec.message import Line
from bridges.irc.joins import Places
from bridges.irc.nicks import BadName
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)


class ChatMoves:
    """What the observer does with RENAME. A server that does not know it makes us leave and join: nobody follows then,
    since nobody asked to be bridged in that channel."""

    def __init__(
        self,
        state: NetworkState,
        places: Places,
        sender: Callable[[Line], RemoteSender],
        offer: Callable[[RemoteEvent], None],
    ) -> None:
        self._state = state
        self._places = places
        self._sender = sender
        self._offer = offer

    def renamed(self, line: Line) -> None:
        """`RENAME #old #new :reason`."""
        state = self._state
        old, name = state.chat_of(line.param(0)), line.param(1)
        if old is None:
            return
        try:
            new = state.chat_id(name)
        except BadName as error:
            log.warning("irc_rename_not_followed", network=state.network, chat=old, reason=str(error))
            return
        place = self._places.renamed(old, new, name)
        if new == old:
            return
        state.regimes.moved(old, new)
        state.lists.moved(old, new)
        state.remove(old)
        state.add(new)
        state.roster.moved(old, new)
        if place is not None:
            log.info("irc_channel_renamed", network=state.network, chat=old, new=new)
            by = self._sender(line) if line.source is not None and line.source.user else None
            self._offer(RemoteChatMoved(old, new, by))
