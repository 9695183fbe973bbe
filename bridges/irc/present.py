"""Which Matrix users are in a channel: by the observer's list of members, never by what connections believe."""

from collections.abc import Collection, Mapping
from typing import Final

from bridge_core.api.ids import ChatId, UserId
from bridges.irc.state import NetworkState

NOBODY: Final = "they have no connection to the network now"
ELSEWHERE: Final = "their connection is not in the channel"


def absent(state: NetworkState, chat: ChatId, users: Collection[UserId]) -> Mapping[UserId, str]:
    """Who of the users is not in the channel, and why. Somebody who took their nick does not stand for them."""
    found: dict[UserId, str] = {}
    for user in users:
        nick = state.nick_of(user)
        person = state.roster.get(nick) if nick is not None else None
        if nick is None or state.user_of(nick) != user:
            found[user] = NOBODY
        elif person is None or person.nick != nick or chat not in person.channels:
            found[user] = ELSEWHERE
    return found
