"""The header of a raw mail, read once, and its body passed on to whoever hashes it."""

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, cast

from bridges.email.codec.addresses import Address
from bridges.email.codec.canonical import field_name
from bridges.email.parsing.addresslist import parse_addresses
from bridges.email.parsing.charsets import header_text
from bridges.email.parsing.headers import one_line
from bridges.email.ports import OpenRaw

LARGEST: Final = 256 * 1024
MOST_FIELDS: Final = 1000
_FIELD: Final = re.compile(rb"[!-9;-~]{1,200}[ \t]*:")
_LONGEST_FROM: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """Raw header fields in order, each with its CRLF. `whole` is False where it is larger than what is read.

    `sound` is False for a header in which a line is no field: readers disagree about what comes after it.
    """

    fields: tuple[bytes, ...]
    whole: bool = True
    sound: bool = True
    _authors: list[tuple[Address, ...]] = field(default_factory=list, init=False, repr=False, compare=False)
    """What `authors` gives, once it was asked for."""

    def all(self, name: str) -> list[bytes]:
        """The raw fields of a name (lower case), from the top."""
        return [one for one in self.fields if field_name(one) == name]

    def value(self, field: bytes) -> str:
        """A field's text in one line, without the name."""
        return one_line(header_text(field.partition(b":")[2].replace(b"\r\n", b"")))

    def authors(self) -> tuple[Address, ...]:
        """The addresses of From; of all of them, where there are several. None of a header that is not whole."""
        if not self._authors:
            self._authors.append(self._read_authors())
        return self._authors[0]

    def _read_authors(self) -> tuple[Address, ...]:
        if not self.whole or not self.sound:
            return ()
        found: list[Address] = []
        for one in self.all("from"):
            if len(one) > _LONGEST_FROM:
                return ()
            found.extend(parse_addresses(self.value(one), 10))
        return tuple(found)


async def read_mail(open_raw: OpenRaw, wants: Callable[[Head], Sequence[Callable[[bytes], None]]]) -> Head:
    """Read a mail once: its header, then its body into what `wants` asks for (nothing: the rest is not read)."""
    buffer = bytearray()
    head: Head | None = None
    async with aclosing(cast("AsyncGenerator[bytes, None]", open_raw())) as chunks:
        feeds: Sequence[Callable[[bytes], None]] = ()
        async for chunk in chunks:
            if head is not None:
                for feed in feeds:
                    feed(chunk)
                continue
            seen = max(len(buffer) - 3, 0)
            buffer += chunk
            end = buffer.find(b"\r\n\r\n", seen)
            if end < 0 and not buffer.startswith(b"\r\n"):
                if len(buffer) > LARGEST:
                    return Head(tuple(split_fields(bytes(buffer[:LARGEST]))[0]), whole=False)
                continue
            start = 2 if buffer.startswith(b"\r\n") else end + 4
            fields, sound = split_fields(bytes(buffer[: start - 2]))
            head = Head(tuple(fields[:MOST_FIELDS]), len(fields) <= MOST_FIELDS and start <= LARGEST, sound)
            feeds = wants(head)
            if not feeds:
                return head
            for feed in feeds:
                feed(bytes(buffer[start:]))
    if head is None:
        fields, sound = split_fields(bytes(buffer))
        head = Head(tuple(fields[:MOST_FIELDS]), len(fields) <= MOST_FIELDS, sound)
        wants(head)
    return head


def split_fields(data: bytes) -> tuple[list[bytes], bool]:
    """Raw fields, with the lines that continue them, and whether all lines belong to one."""
    fields: list[list[bytes]] = []
    if b"\r" in data.replace(b"\r\n", b""):
        return [], False  # readers disagree about what a bare CR is
    for line in data.splitlines(keepends=True):
        if line[:1] in (b" ", b"\t"):
            if not fields:
                return [], False
            fields[-1].append(line)
        elif _FIELD.match(line):
            fields.append([line])
        else:
            return [b"".join(one) for one in fields], False
    return [b"".join(one) for one in fields], True
