"""The lines on top of what somebody writes on Matrix that say whom a mail is for: `To:`, `Cc:`, `Bcc:`, `Subject:`.

To: bob@example.org, carol@example.org
Subject: The invoice

Hello Bob, ...
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from bridge_core.api.content import Content, Paragraph, Plain, RichText
from bridge_core.api.errors import RejectedError
from bridge_core.content import to_plain
from bridges.email.codec.addresses import Address, parse_address

_FIELD: Final = re.compile(r"(to|cc|bcc|subject)\s*:\s*(.*)", re.IGNORECASE)
_NAMED: Final = re.compile(r"\s*(.*?)\s*<([^<>]+)>\s*")
_MOST: Final = 100
"""Addresses of one mail that its writer may name."""
_SUBJECT: Final = 200


class LetterheadError(ValueError):
    """An address cannot be read; the text says which, for its writer."""


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What the lines said. `text` is what stands below them; the text as it was where there are none."""

    text: RichText
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    subject: str = ""

    @property
    def given(self) -> bool:
        """Whether there were any lines."""
        return bool(self.to or self.cc or self.bcc or self.subject)


def letterhead(text: RichText) -> Letterhead:
    """Reads the lines on top. Raises LetterheadError.

    Only the first node is read, so that a mail which quotes another's head is not taken for one.
    """
    first = text[0] if text else None
    if isinstance(first, Plain):
        lines, rest = first.text, text[1:]
        found, below = _read(lines)
        return replace(found, text=(Plain(below), *rest) if below else rest) if found.given else Letterhead(text)
    if isinstance(first, Paragraph):
        found, below = _read(to_plain(first.children))
        kept = (Paragraph((Plain(below),)),) if below else ()
        return replace(found, text=(*kept, *text[1:])) if found.given else Letterhead(text)
    return Letterhead(text)


def read_letterhead(content: Content) -> Letterhead:
    """As `letterhead`, of a message. Raises RejectedError in words for its writer."""
    try:
        return letterhead(content.text)
    except LetterheadError as error:
        raise RejectedError(str(error)) from error


def addresses(text: str) -> tuple[Address, ...]:
    """Addresses with commas between them, each bare or as `Name <address>`. Raises LetterheadError."""
    found = []
    for piece in re.split(r"[,;]", text):
        if not piece.strip():
            continue
        named = _NAMED.fullmatch(piece)
        name, bare = named.groups() if named else ("", piece.strip())
        try:
            found.append(parse_address(bare.removeprefix("mailto:")).named(name.strip('"')))
        except ValueError as error:
            raise LetterheadError(f"{piece.strip()[:100]} is no mail address: {error}") from error
        if len(found) > _MOST:
            raise LetterheadError(f"a mail goes to {_MOST} addresses at most")
    return tuple({one.key: one for one in found}.values())


def _read(text: str) -> tuple[Letterhead, str]:
    lines = text.split("\n")
    fields: dict[str, str] = {}
    number = 0
    for number, line in enumerate(lines):  # noqa: B007 - where it ended is used below
        match = _FIELD.fullmatch(line.strip())
        if match is None or match[1].lower() in fields:
            break
        fields[match[1].lower()] = match[2].strip()
    else:
        number = len(lines)
    subject = " ".join(fields.get("subject", "").split())[:_SUBJECT]
    people = {name: addresses(fields.get(name, "")) for name in ("to", "cc", "bcc")}
    return Letterhead((), **people, subject=subject), "\n".join(lines[number:]).lstrip("\n")
