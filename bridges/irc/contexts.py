"""Private answers that belong to a channel (IRCv3 client tag channel-context), both ways."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bridge_core.api.content import Kind
from bridge_core.api.events import RemoteMessage
from bridge_core.api.ids import ChatId
from bridges.irc.codec.message import Line
from bridges.irc.session import Session
from bridges.irc.speech import Speech
from bridges.irc.state import NetworkState

CONTEXTS: Final = ("+channel-context", "+draft/channel-context")


def about(line: Line) -> str:
    """The channel that a private message says it is about; empty for none."""
    return next((line.tags[name] for name in CONTEXTS if name in line.tags), "") if line.tags else ""


def answer_in_channel(state: NetworkState, speech: Speech, line: Line) -> RemoteMessage | None:
    """A NOTICE to the relay about a bridged channel, as what its room is to read; None for any other.

    Only of somebody who has a mode (operator, voice) in that channel: the channel itself does not see it, so whoever
    may not speak there, or is not even in it, is not heard here either.
    """
    chat = state.chat_of(about(line)) if line.command == "NOTICE" and line.tags else None
    if chat is None or line.source is None:
        return None
    person = state.roster.get(line.source.nick)
    if person is None or person.nick != line.source.nick or not person.channels.get(chat):
        return None
    event = speech.message(line, chat)
    return replace(event, content=replace(event.content, kind=Kind.NOTICE)) if event is not None else None


def context(session: Session, state: NetworkState, chat: ChatId | str) -> Mapping[str, str]:
    """The tag for our own private answer about a channel; none where the server does not pass it on."""
    if session.tags and state.isupport.is_channel(chat) and state.isupport.may_tag("draft/channel-context"):
        return {"+draft/channel-context": chat}
    return {}
