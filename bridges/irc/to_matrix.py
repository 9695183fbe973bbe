"""Lines of others to the events that the core takes."""

import re
from datetime import datetime
from typing import Final

from bridge_core.api.content import Content, Kind, Mention, Node, Plain, RichText
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridges.irc import people
from bridges.irc.codec.ctcp import parse_ctcp
from bridges.irc.formatting import to_tree
from bridges.irc.state import NetworkState

_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+|[\w\[\]\\`^{}|-]+")
_MENTIONS_AT_MOST: Final = 8
_LETTERS: Final = re.compile(r"[a-z0-9]+")
_OPENS: Final = (":", ",")
_BRACKETS: Final = frozenset("[]\\~{}|^`-_")


def message_content(state: NetworkState, chat: ChatId, command: str, text: str) -> Content | None:
    """What a PRIVMSG or NOTICE says; None for a CTCP request other than ACTION and for one that says nothing."""
    kind = Kind.TEXT if command == "PRIVMSG" else Kind.NOTICE
    if text[:1] == "\x01":
        ctcp = parse_ctcp(text)
        if ctcp is None or ctcp[0] != "ACTION":
            return None
        kind, text = Kind.EMOTE, ctcp[1]
    tree = to_tree(text)
    if not tree:
        return None
    if len(tree) == 1 and isinstance(tree[0], Plain):
        tree = with_mentions(state, chat, tree[0].text)
    return Content(tree, kind)


def with_mentions(state: NetworkState, chat: ChatId, text: str) -> RichText:
    """Plain text with the nicks of the channel's people as mentions; at most eight, never within an address."""
    if text.isascii() and _BRACKETS.isdisjoint(text) and state.roster.nobody(_LETTERS.findall(text.lower())):
        return (Plain(text),)  # nearly every line: no word of it is anybody's nick
    nodes: list[Node] | None = None
    place = 0
    shortest = state.config.mention_length
    roster = state.roster
    for match in _WORD.finditer(text):
        word = match[0]
        start, end = match.span()
        opens = start == 0 and text[end : end + 1] in _OPENS
        if len(word) < shortest and not opens:
            continue
        # Without brackets every casemapping of ASCII is plain lower case.
        plain = word.isascii() and _BRACKETS.isdisjoint(word)
        person = roster.folded(word.lower() if plain else roster.fold(word))
        if person is None or chat not in person.channels or person.nick == state.relay_nick:
            continue
        user = state.user_of(person.nick)
        if nodes is None:
            nodes = []
        if start > place:
            nodes.append(Plain(text[place:start]))
        nodes.append(Mention(word, None if user is not None else person.sender.id, user))
        place = end
        if len(nodes) >= 2 * _MENTIONS_AT_MOST:
            break
    if nodes is None:
        return (Plain(text),)
    if place < len(text):
        nodes.append(Plain(text[place:]))
    return tuple(nodes)


def timestamp(tag: str | None, now: int) -> int:
    """Milliseconds of a server-time tag; `now` where there is none or it makes no sense (IRCv3 server-time)."""
    if not tag:
        return now
    try:
        told = int(datetime.fromisoformat(tag).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return now
    return told if 0 < told <= now + 60_000 else now


def message_id(tag: str | None) -> MessageId | None:
    """The id of a message by its tag `msgid`; None where there is none (IRCv3 message-ids)."""
    return MessageId(tag) if tag else None


def person_id(state: NetworkState, nick: str) -> RemoteUserId:
    """The id of a person of whom nothing but the nick is known."""
    return people.of_nick(state.isupport.fold(nick))
