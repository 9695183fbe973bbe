"""CHATHISTORY: what was said before (IRCv3 draft/chathistory and draft/event-playback)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from bridges.irc.demo import speech
from bridges.irc.demo.client import Client
from bridges.irc.demo.history import SPOKEN, Entry, private_key
from bridges.irc.demo.message import Message
from bridges.irc.demo.speech import Speech
from bridges.irc.demo.wire import Line, upper
from bridges.irc.demo.world import World

CAPABILITY = "draft/chathistory"
#: Parameters of each subcommand, with its own name.
_SHAPES = {"AFTER": 4, "AROUND": 4, "BEFORE": 4, "BETWEEN": 5, "LATEST": 4, "TARGETS": 4}


class _RefusedError(Exception):
    """The request cannot be answered: code, text and further words of the FAIL."""

    def __init__(self, code: str, text: str, *words: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.words = words


@dataclass(frozen=True, slots=True)
class _Point:
    """A selector: an entry by its id, or a time."""

    time: str
    msgid: str = ""


def chathistory(world: World, client: Client, line: Line) -> None:
    """Answer one request by one batch, oldest first, or a FAIL."""
    if CAPABILITY not in client.caps:
        world.numeric(client, 421, "Unknown command", "CHATHISTORY")
        return
    sub = upper(line.params[0]) if line.params else "*"
    try:
        if sub not in _SHAPES:
            raise _RefusedError("UNKNOWN_COMMAND", "Unknown command", sub)
        if len(line.params) < _SHAPES[sub]:
            raise _RefusedError("NEED_MORE_PARAMS", "Missing parameters", sub)
        if sub == "TARGETS":
            _targets(world, client, line.params)
        else:
            _entries(world, client, sub, line.params)
    except _RefusedError as refused:
        world.fail(client, "CHATHISTORY", refused.code, refused.text, *refused.words)


def _entries(world: World, client: Client, sub: str, params: list[str]) -> None:
    target = params[1]
    channel = world.channel(target)
    if channel is not None:
        if client not in channel.members:
            raise _RefusedError("INVALID_TARGET", "Messages could not be retrieved", sub, target)
        key, shown = world.fold(channel.name), channel.name
    elif target[:1] == "#":
        raise _RefusedError("INVALID_TARGET", "Messages could not be retrieved", sub, target)
    else:
        peer = world.find(target)
        shown = peer.nick if peer is not None else target
        key = private_key(world.identity(client), world.identity(peer) if peer else world.fold(target))
    events = "draft/event-playback" in client.caps
    kept = [entry for entry in world.history.of(key) if events or entry.command in SPOKEN]
    limit = _limit(world, sub, params[-1])
    if sub == "LATEST" and params[2] == "*":
        chosen = kept[-limit:]
    else:
        points = [_point(world, sub, target, word) for word in params[2:-1]]
        chosen = _SELECT[sub](kept, points, limit)
    _send(world, client, shown, chosen)


def _send(world: World, client: Client, target: str, chosen: list[Entry]) -> None:
    opening, closing = world.batch("chathistory", target)
    client.send(opening)
    for entry in chosen:
        for message in _lines(world, client, entry.content, opening.opens):
            client.send(message)
    client.send(closing)


def _lines(world: World, client: Client, content: Message | Speech, within: str) -> list[Message]:
    if isinstance(content, Message):
        return [content.inside(within)]
    if speech.knows(client):
        return content.batched(world, within)
    return [line.inside(within) for line in content.plain(world)]


def _limit(world: World, sub: str, word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word)):
        raise _RefusedError("INVALID_PARAMS", "Invalid limit", sub, word)
    return min(int(word), world.options.history_limit)


def _point(world: World, sub: str, target: str, word: str) -> _Point:
    kind, _, value = word.partition("=")
    if kind == "timestamp":
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            raise _RefusedError("INVALID_PARAMS", "Invalid timestamp", sub, word) from None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return _Point(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z")
    if kind != "msgid":
        raise _RefusedError("INVALID_MSGREFTYPE", "Unknown kind of message reference", sub, target, kind or "*")
    found = world.history.find(value)
    if found is None:
        raise _RefusedError("MESSAGE_ERROR", "Messages could not be retrieved", sub, target)
    return _Point(found.time, value)


def _later(kept: list[Entry], point: _Point) -> list[Entry]:
    """Give what came after a point, without it."""
    for number, entry in enumerate(kept):
        if point.msgid and entry.msgid == point.msgid:
            return kept[number + 1 :]
    return [entry for entry in kept if entry.time > point.time]


def _earlier(kept: list[Entry], point: _Point) -> list[Entry]:
    """Give what came before a point, without it."""
    for number, entry in enumerate(kept):
        if point.msgid and entry.msgid == point.msgid:
            return kept[:number]
    return [entry for entry in kept if entry.time < point.time]


def _latest(kept: list[Entry], points: list[_Point], limit: int) -> list[Entry]:
    return _later(kept, points[0])[-limit:]


def _before(kept: list[Entry], points: list[_Point], limit: int) -> list[Entry]:
    return _earlier(kept, points[0])[-limit:]


def _after(kept: list[Entry], points: list[_Point], limit: int) -> list[Entry]:
    return _later(kept, points[0])[:limit]


def _around(kept: list[Entry], points: list[_Point], limit: int) -> list[Entry]:
    first = len(_earlier(kept, points[0]))
    start = max(0, min(first - limit // 2, len(kept) - limit))
    return kept[start : start + limit]


def _between(kept: list[Entry], points: list[_Point], limit: int) -> list[Entry]:
    """Give the first ones after the first point when it is the older one, else the last ones before it."""
    first, second = points
    if len(_earlier(kept, first)) <= len(_earlier(kept, second)):
        return _earlier(_later(kept, first), second)[:limit]
    return _earlier(_later(kept, second), first)[-limit:]


_SELECT: dict[str, Callable[[list[Entry], list[_Point], int], list[Entry]]] = {
    "AFTER": _after,
    "AROUND": _around,
    "BEFORE": _before,
    "BETWEEN": _between,
    "LATEST": _latest,
}


def _targets(world: World, client: Client, params: list[str]) -> None:
    """List the conversations with messages between two times, the longest silent first."""
    start, end = sorted(_point(world, "TARGETS", "*", word).time for word in params[1:3])
    limit = _limit(world, "TARGETS", params[3])
    me = world.identity(client)
    found: list[tuple[str, str]] = []
    for channel in client.channels.values():
        found += _last(channel.name, world.history.of(world.fold(channel.name)), start, end)
    for kept in world.history.private(me):
        other = next((name for identity, name in kept[-1].shown if identity != me), client.nick)
        found += _last(other, kept, start, end)
    opening, closing = world.batch("draft/chathistory-targets")
    client.send(opening)
    for time, name in sorted(found)[:limit]:
        text = f":{world.options.name} CHATHISTORY TARGETS {name} {time}"
        client.send(Message(text, limit=world.options.line_length, batch=opening.opens))
    client.send(closing)


def _last(name: str, kept: list[Entry], start: str, end: str) -> list[tuple[str, str]]:
    """Give a conversation with the time of its latest message, when that lies between the two times."""
    times = [entry.time for entry in kept if entry.command in SPOKEN]
    return [(times[-1], name)] if times and start < times[-1] < end else []
