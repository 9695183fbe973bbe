"""A mail's body as a tree of MIME parts (RFC 2045, 2046, 2387), written in chunks: no file is whole in memory."""

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from bridge_core.content.to_html import escaped
from bridges.email.codec.fields import parameter_field, word_field
from bridges.email.codec.flowed import flowed, quoted_printable

OpenBytes: TypeAlias = Callable[[], AsyncIterator[bytes]]
_LINE: Final = 57
"""Bytes that become one line of 76 characters of base64."""


@dataclass(frozen=True, slots=True)
class Part:
    """Header fields, and what is below them: bytes that are ready, a file, or further parts."""

    fields: bytes
    ready: bytes = b""
    file: OpenBytes | None = None
    parts: tuple["Part", ...] = ()
    boundary: str = ""


def text_part(text: str, signature: str = "") -> Part:
    """Plain text, and what stands below it, parted as mail programs know it (RFC 3676 section 4.3)."""
    below = f"-- \r\n{flowed(signature)}" if signature else ""
    return Part(
        parameter_field("Content-Type", "text/plain", charset="utf-8", format="flowed") + _QP,
        quoted_printable(flowed(text) + below),
    )


def html_part(html: str, signature: str = "") -> Part:
    """A page of HTML around the body's inside."""
    if signature:
        html += f'<div class="moz-signature">-- <br>{escaped(signature).replace(chr(10), "<br>")}</div>'
    page = f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head><body>{html}</body></html>\n'
    return Part(parameter_field("Content-Type", "text/html", charset="utf-8") + _QP, quoted_printable(page))


def reaction_part(key: str) -> Part:
    """A reaction (RFC 9078)."""
    fields = parameter_field("Content-Type", "text/plain", charset="utf-8")
    return Part(fields + word_field("Content-Disposition", "reaction") + _QP, quoted_printable(f"{key}\n"))


def gmail_part(json: bytes) -> Part:
    """A reaction in the form of Gmail (developers.google.com, "Gmail reactions format")."""
    kind = "text/vnd.google.email-reaction+json"
    return Part(parameter_field("Content-Type", kind, charset="utf-8") + _QP, quoted_printable(json.decode() + "\n"))


def file_part(open_bytes: OpenBytes, name: str, mime: str, *, cid: str = "", inline: bool = False) -> Part:
    """A file; with `cid` the HTML shows it."""
    # What some programs read instead of the disposition; encoded words have no place there.
    named = {"name": name} if name.isascii() else {}
    fields = parameter_field("Content-Type", mime, **named)
    fields += parameter_field("Content-Disposition", "inline" if inline else "attachment", filename=name)
    if cid:
        fields += word_field("Content-ID", f"<{cid}>")
    return Part(fields + word_field("Content-Transfer-Encoding", "base64"), file=open_bytes)


def multipart(kind: str, parts: Sequence[Part], boundary: str) -> Part:
    """The parts below one another; a lone one stays as it is.

    `boundary` must begin with `=_`, which stands in no base64 and no quoted-printable.
    """
    if len(parts) == 1:
        return parts[0]
    parameters = {"type": "multipart/alternative"} if kind == "related" else {}
    fields = parameter_field("Content-Type", f"multipart/{kind}", boundary=boundary, **parameters)
    return Part(fields, parts=tuple(parts), boundary=boundary)


async def written(part: Part) -> AsyncIterator[bytes]:
    """What is below a part's fields."""
    if part.file is not None:
        async for chunk in _base64(part.file()):
            yield chunk
    elif part.parts:
        for one in part.parts:
            yield b"--" + part.boundary.encode() + b"\r\n" + one.fields + b"\r\n"
            async for chunk in written(one):
                yield chunk
            yield b"\r\n"
        yield b"--" + part.boundary.encode() + b"--\r\n"
    else:
        yield part.ready


async def _base64(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    left = b""
    async for chunk in chunks:
        left += chunk
        whole = len(left) - len(left) % _LINE
        if whole:
            yield _lines(left[:whole])
            left = left[whole:]
    if left:
        yield _lines(left)


def _lines(some: bytes) -> bytes:
    encoded = base64.b64encode(some)
    return b"".join(encoded[at : at + 76] + b"\r\n" for at in range(0, len(encoded), 76))


_QP: Final = word_field("Content-Transfer-Encoding", "quoted-printable")
