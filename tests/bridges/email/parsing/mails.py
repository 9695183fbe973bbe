"""Mails for tests: built from pieces, and read."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from bridge_core.content import to_plain
from bridges.email.mail import Mail
from bridges.email.parsing.context import Context
from bridges.email.parsing.reader import ReadMail, read_mail

CONTEXT = Context(received_at=1_800_000_000_000)


def lf(text: str | bytes) -> bytes:
    """The text with line ends as mail has them."""
    data = text.encode() if isinstance(text, str) else text
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def mail(body: str | bytes = "Hello.", headers: str | bytes = "", *, sender: str = "Bob <bob@example.org>") -> bytes:
    """A mail of that body with further headers, each line of them ended."""
    given = headers.encode() if isinstance(headers, str) else headers
    text = body.encode() if isinstance(body, str) else body
    if given and not given.endswith(b"\n"):
        given += b"\n"
    head = f"From: {sender}\nTo: room@bridge.example\nSubject: A subject\nMessage-ID: <1@example.org>\n".encode()
    return lf(head + given + b"\n" + text)


def part(body: str | bytes, kind: str = "text/plain; charset=utf-8", *headers: str) -> bytes:
    """A part of a multipart."""
    text = body.encode() if isinstance(body, str) else body
    return "\n".join([f"Content-Type: {kind}", *headers, "", ""]).encode() + text


def multi(kind: str, *parts: bytes, boundary: str = "b0", more: str = "") -> tuple[str, bytes]:
    """The header and the body of a multipart."""
    joined = b"".join(b"--" + boundary.encode() + b"\n" + one + b"\n" for one in parts)
    header = f'MIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary="{boundary}"{more}\n'
    return header, joined + b"--" + boundary.encode() + b"--\n"


def nested(kind: str, *parts: bytes, boundary: str = "b1", more: str = "") -> bytes:
    """A multipart as a part of another."""
    header, body = multi(kind, *parts, boundary=boundary, more=more)
    return header.encode() + b"\n" + body


def multimail(
    kind: str, *parts: bytes, headers: str = "", more: str = "", sender: str = "Bob <bob@example.org>"
) -> bytes:
    """A mail that is a multipart."""
    header, body = multi(kind, *parts, more=more)
    return mail(body, headers + header, sender=sender)


def read(data: bytes, context: Context = CONTEXT, **changes: object) -> ReadMail:
    """The mail as it is read."""
    return read_mail(data, replace(context, **changes) if changes else context)  # type: ignore[arg-type]


def parsed(data: bytes, **changes: object) -> Mail:
    """The mail."""
    return read(data, **changes).mail


def said(data: bytes, **changes: object) -> str:
    """The text of the mail in plain words."""
    return to_plain(parsed(data, **changes).text)


def opener(data: bytes, chunk: int = 65_536) -> Callable[[], AsyncIterator[bytes]]:
    """Opens the bytes as a raw mail."""

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), chunk):
            yield data[at : at + chunk]

    return chunks
