"""Messages that a channel refuses and shows to its operators (mode +z of solanum and its relatives).

Where the server does not mark them as it marks messages to operators (`@#channel`), they look like any other: they must
not be shown to everybody.
"""

from collections.abc import Set
from typing import Final

from bridge_core.api.ids import ChatId
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.masks import Who
from bridges.irc.codec.message import Line
from bridges.irc.state import NetworkState

_MODE: Final = "z"
_VOICE: Final = "v"
_SOLANUM: Final = "$"
"""The prefix of extended bans in the family of charybdis, where z is this mode; elsewhere it asks for TLS."""


def letter(isupport: Isupport, chosen: str | None) -> str:
    """The letter of the mode; empty where there is none, or it is not known to be this one."""
    if chosen is not None:
        return chosen
    solanum = isupport.tokens.get("EXTBAN", "").startswith(_SOLANUM) and "q" in isupport.list_modes
    return _MODE if solanum and _MODE in isupport.flag_modes else ""


def refused(state: NetworkState, chat: ChatId, line: Line) -> bool:
    """Whether a message to a channel is one that only its operators are shown. In doubt it is: while the modes or lists
    of a channel are not known in which we are an operator, everybody without a mode of their own is taken for refused.
    """
    if line.source is None:
        return False
    regime = state.regimes.get(chat)
    chosen = state.config.channels.op_moderated
    if regime is None:
        return in_doubt(state, chat) and not _has_mode(state, chat, line.source.nick)
    if (_MODE if chosen is None else chosen) not in regime.flags or not letter(state.isupport, chosen):
        return False  # nearly every line
    return not _may_speak(state, chat, line, regime.flags)


def in_doubt(state: NetworkState, chat: ChatId) -> bool:
    """Whether the server may show us what a channel refuses, as far as is known without its modes."""
    if not letter(state.isupport, state.config.channels.op_moderated):
        return False
    own = state.roster.get(state.relay_nick) if state.relay_nick else None
    return own is None or bool(set(own.channels.get(chat, "")) - {_VOICE})


def _has_mode(state: NetworkState, chat: ChatId, nick: str) -> bool:
    """Whether somebody is an operator or voiced: these always may speak."""
    person = state.roster.get(nick)
    return person is not None and person.nick == nick and bool(person.channels.get(chat))


def _may_speak(state: NetworkState, chat: ChatId, line: Line, flags: Set[str]) -> bool:
    source = line.source
    assert source is not None
    if _has_mode(state, chat, source.nick):
        return True
    person = state.roster.get(source.nick)
    there = person is not None and person.nick == source.nick and chat in person.channels
    if "m" in flags or (not there and "n" in flags):
        return False
    if in_doubt(state, chat) and not all(
        state.lists.known(chat, one) for one in "bq" if one in state.isupport.list_modes
    ):
        return False
    account = person.account if person is not None and there else None
    real = person.real if person is not None and there else None
    who = Who(source.nick, source.user, source.host, line.tags.get("account", account), real)
    return state.lists.against(chat, who, state.isupport) is None
