"""Lists of addresses in headers (RFC 5322, 3.4, and 4.4 for the old forms), read in one pass over tokens."""

import re
from dataclasses import dataclass, field
from typing import Final

from bridges.email.codec.addresses import Address, parse_address
from bridges.email.parsing.names import has_unseen, person_name
from bridges.email.parsing.words import decode_words

MOST: Final = 500
_TOKEN = re.compile(
    r"(?P<word>=\?[^?\s]{1,64}\?[BbQq]\?[^?]*+\?=)"
    r"|\"(?P<quoted>(?:[^\"\\]|\\.)*+)\"?+"
    r"|(?P<open>\()"
    r"|<(?P<angle>[^<>]*+)>?+"
    r"|(?P<mark>[,;:])"
    r"|(?P<atom>(?:\[[^\]\s]{0,60}\]|[^\s\",;:<>()=\[]|=(?!\?)|[=\[])++)"
    r"|(?P<space>\s++)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_COMMENT = re.compile(r"(?:[^()\\]|\\.)*+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LONGEST_NAME: Final = 400


@dataclass(slots=True)
class _Mailbox:
    """What was read of one mailbox so far. `bare` are words with an @ outside of brackets."""

    words: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    angle: str | None = None
    quoted_before: str | None = None
    bare: str = ""


def parse_addresses(text: str, most: int = MOST) -> tuple[Address, ...]:
    """The addresses of a header, with the names beside them cleaned for people; groups are taken apart.

    What is no address is left out. At most `most` are read, the rest is passed over. Never raises; linear.
    """
    found: list[Address] = []
    box = _Mailbox()
    at = 0
    while at < len(text) and len(found) < most:
        token = _TOKEN.match(text, at)
        assert token is not None
        at = token.end()
        kind = token.lastgroup
        piece = token[kind] if kind else ""
        if kind == "open":
            at = _comment(text, at, box)
        elif kind == "mark" and piece == ":" and box.angle is None and not box.bare:
            box = _Mailbox()  # what came was the name of a group
        elif kind == "mark":
            _finish(box, found)
            box = _Mailbox()
        else:
            _take(box, kind or "", piece)
    if len(found) < most:
        _finish(box, found)
    return tuple(found)


def _take(box: _Mailbox, kind: str, piece: str) -> None:
    before, box.quoted_before = box.quoted_before, None
    if kind == "quoted":
        box.words.append(_ESCAPED.sub(r"\1", piece))
        box.quoted_before = piece
    elif kind == "angle":
        if box.angle is None and "@" in piece:
            box.angle = piece
    elif kind == "atom" and "@" in piece and not box.bare:
        if piece.startswith("@") and before is not None:
            box.words.pop()
            piece = f'"{before}"{piece}'
        box.bare = piece
        box.words.append(piece)
    elif kind == "space":
        if box.words and box.words[-1] != " ":
            box.words.append(" ")
    elif kind in ("word", "atom", "other"):
        box.words.append(piece)


def _comment(text: str, at: int, box: _Mailbox) -> int:
    """Where the comment that began before `at` ends; nesting is counted, not followed."""
    depth, start = 1, at
    while at < len(text) and depth:
        found = _COMMENT.match(text, at)
        at = found.end() if found is not None else at
        if at < len(text):
            depth += 1 if text[at] == "(" else -1 if text[at] == ")" else 0
            at += 1
    if len(box.comments) < 3:
        box.comments.append(text[start : at - 1 if depth == 0 else at][:_LONGEST_NAME])
    return at


def _finish(box: _Mailbox, found: list[Address]) -> None:
    given = box.angle if box.angle is not None else box.bare
    if not given:
        return
    address = _address(given)
    if address is None:
        return
    words = [word for word in box.words if box.angle is not None or word is not box.bare]
    name = "".join(words).strip() or " ".join(box.comments)
    found.append(address.named(person_name(decode_words(name[: 4 * _LONGEST_NAME]), address)))


def _address(given: str) -> Address | None:
    given = decode_words(given.strip()).strip("'\" ") if not given.lstrip().startswith('"') else given.strip()
    if given.startswith("@"):
        given = given.rpartition(":")[2]  # a route, which RFC 5321 lets nobody use any more
    given = given.removeprefix("mailto:").rstrip(".")
    if has_unseen(given):
        return None  # no mailbox is called so, and two would look the same
    try:
        return parse_address(given)
    except ValueError:
        try:
            return parse_address("".join(given.split()))
        except ValueError:
            return None
