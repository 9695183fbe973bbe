"""A user who has logged in enters the channels in whose rooms they are."""

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import UserId
from bridges.irc.membership import Membership
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)


async def come_home(state: NetworkState, user: UserId, session: Session, channels: Membership) -> None:
    """Asks to be let in where the user is and the connection is not; a room of which nothing is known is left out."""
    host = state.running
    for chat in host.chats():
        if not state.is_channel(chat) or chat in channels or not session.up:
            continue
        try:
            there = await host.rooms.members(chat)
        except BridgeError as error:
            log.info("irc_rooms_unknown", network=state.network, chat=chat, error=str(error))
            continue
        if there is not None and user in there and channels.barred(chat) is None:
            channels.want(chat)
            channels.join(session, [chat])
