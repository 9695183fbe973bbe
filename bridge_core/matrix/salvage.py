"""Reads what can be read of a transaction that the parser refuses as a whole.

A single event nested more than 1,024 deep, or with half a surrogate pair in it, makes the whole body unreadable for
orjson; answered 400, the homeserver would send it again for ever and nothing behind it would arrive.
"""

import re
from typing import Any

import orjson

__all__ = ["salvage"]

# Each in one step of the regular expression's engine, without backtracking: strings, so that brackets inside of them do
# not count; lists and objects that hold no others; and rows of opening or of closing brackets.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT = rb'[\[{](?:[^"\[\]{}]++|' + _STRING + rb")*+[\]}]"
_TOKEN = re.compile(_STRING + rb"|[\[\]{},:]", re.DOTALL)
_DEEP = re.compile(
    rb'(?:[^"\[\]{}]++|' + _STRING + rb"|" + _FLAT + rb")*+(?:(?P<open>[\[{]+)|(?P<close>[\]}]+))", re.DOTALL
)
_OPEN = frozenset(b"[{")
_CLOSE = frozenset(b"]}")


def salvage(body: bytes) -> tuple[dict[str, Any], int] | None:
    """Returns the readable parts of the top-level object and how many list entries were lost.

    Lists under it are read entry by entry, other values as a whole. None when not even that shape is there, or when
    nothing was wrong but the shape.
    """
    members = _split(body, 0, len(body), b"{}")
    if members is None:
        return None
    whole: dict[str, Any] = {}
    lost = 0
    for start, end in members:
        colon = _key_end(body, start, end)
        if colon is None:
            return None
        key = _load(body[start:colon])
        value, bad = _value(body, colon + 1, end)
        lost += bad
        if isinstance(key, str) and value is not _UNREADABLE:
            whole[key] = value
    return (whole, lost) if lost else None


_UNREADABLE = object()


def _value(body: bytes, start: int, end: int) -> tuple[Any, int]:
    value = _load(body[start:end])
    if value is not _UNREADABLE:
        return value, 0
    parts = _split(body, start, end, b"[]")
    if parts is None:
        return _UNREADABLE, 1
    entries = [_load(body[first:last]) for first, last in parts]
    kept = [entry for entry in entries if entry is not _UNREADABLE]
    return kept, len(entries) - len(kept)


def _load(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _UNREADABLE


def _key_end(body: bytes, start: int, end: int) -> int | None:
    for token in _TOKEN.finditer(body, start, end):
        if token[0] == b":":
            return token.start()
    return None


def _split(body: bytes, start: int, end: int, brackets: bytes) -> list[tuple[int, int]] | None:
    """The spans between the commas of the outermost bracket pair; None when it is no such thing or is not closed."""
    text = body[start:end].strip()
    if not (text.startswith(brackets[:1]) and text.endswith(brackets[1:])):
        return None
    spans: list[tuple[int, int]] = []
    begin = place = last = start
    depth = 0
    while (token := _TOKEN.search(body, place, end)) is not None:
        place = token.end()
        mark = token[0][0]
        if mark in _OPEN:
            depth += 1
            if depth == 1:
                begin = place
            else:
                inner = _closed(body, place, end)
                if inner is None:
                    return None
                place, depth = inner, 1
        elif mark in _CLOSE:
            depth -= 1
            if depth == 0:
                last = token.start()
        elif mark == 0x2C and depth == 1:
            spans.append((begin, token.start()))
            begin = place
    if depth != 0:
        return None
    if body[begin:last].strip():
        spans.append((begin, last))
    return spans


def _closed(body: bytes, start: int, end: int) -> int | None:
    """Where the bracket before `start` is closed; None when it is not. Reads each byte a bounded number of times."""
    depth, place = 1, start
    while (token := _DEEP.match(body, place, end)) is not None:
        place = token.end()
        if token["open"]:
            depth += len(token["open"])
        elif len(token["close"]) >= depth:
            return token.start("close") + depth
        else:
            depth -= len(token["close"])
    return None
