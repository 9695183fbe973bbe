"""The one way from values to bytes. Nothing else in this adapter may write to a socket.

What it refuses is what let strangers run commands on other bridges: CVE-2022-29166 and CVE-2025-27146 (CR and LF in
text), CVE-2023-38690 and CVE-2024-52505 (CR, LF and spaces in channel names).
"""

import re
from collections.abc import Mapping
from typing import Final

from bridges.irc.codec.lines import LINE_LIMIT

CLIENT_TAG_LIMIT: Final = 4094
"""Bytes of tag data a client may send, without `@` and the space behind (IRCv3 message-tags)."""
_COMMAND: Final = re.compile(r"[A-Z]+|[0-9]{3}", re.ASCII)
_TAG_KEY: Final = re.compile(r"\+?(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9-]+", re.ASCII)


class UnsafeLine(ValueError):  # noqa: N818 - named for what is so
    """A value that would break out of its place in the line. Carries no part of the value."""


class LineTooLong(UnsafeLine):
    """The line or its tags are longer than the network takes; sent, it would be cut or refused there."""


def serialize(command: str, *params: str, tags: Mapping[str, str] | None = None, limit: int = LINE_LIMIT) -> bytes:
    """One line with its CR LF, in UTF-8. The last parameter may hold anything but CR, LF and NUL.

    `limit` is the network's line length in bytes, CR LF included and tags not.

    Raises:
        UnsafeLine: an invalid command or tag key; CR, LF or NUL anywhere; a parameter other than the last that is
            empty, holds a space or starts with a colon; text that has no UTF-8 form.
        LineTooLong: more than `limit` bytes, or more than 4094 bytes of tags.
    """
    if not _COMMAND.fullmatch(command):
        raise UnsafeLine("a command is upper-case letters or three digits")
    text = command
    if params:
        middles = params[:-1]
        for middle in middles:
            if not middle or middle[0] == ":" or " " in middle:
                raise UnsafeLine("a parameter that is empty, holds a space or starts with a colon is not the last one")
        last = params[-1]
        colon = ":" if not last or last[0] == ":" or " " in last else ""
        text = " ".join((command, *middles, colon + last))
    if "\r" in text or "\n" in text or "\0" in text:
        raise UnsafeLine("CR, LF and NUL have no place in a line")
    try:
        body = text.encode()
    except UnicodeEncodeError:
        raise UnsafeLine("text that has no UTF-8 form") from None
    if len(body) + 2 > limit:
        raise LineTooLong(f"a line of {len(body) + 2} bytes where {limit} are allowed")
    if tags:
        return b"%b%b\r\n" % (serialize_tags(tags), body)
    return body + b"\r\n"


def serialize_tags(tags: Mapping[str, str]) -> bytes:
    """The tag section, `@`, tags and space; values are escaped, but CR, LF and NUL are refused even so.

    Raises:
        UnsafeLine, LineTooLong: as `serialize`.
    """
    items: list[str] = []
    for key, value in tags.items():
        if not _TAG_KEY.fullmatch(key):
            raise UnsafeLine("a tag key is an optional + and vendor, then letters, digits and hyphens")
        if "\r" in value or "\n" in value or "\0" in value:
            raise UnsafeLine("CR, LF and NUL have no place in a tag")
        if value:
            escaped = value.replace("\\", "\\\\").replace(";", "\\:").replace(" ", "\\s")
            items.append(f"{key}={escaped}")
        else:
            items.append(key)
    try:
        data = ";".join(items).encode()
    except UnicodeEncodeError:
        raise UnsafeLine("text that has no UTF-8 form") from None
    if len(data) > CLIENT_TAG_LIMIT:
        raise LineTooLong(f"{len(data)} bytes of tags where {CLIENT_TAG_LIMIT} are allowed")
    return b"@%b " % data
