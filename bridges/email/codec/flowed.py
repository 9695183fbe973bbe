"""Text as mail carries it: format=flowed (RFC 3676) in quoted-printable (RFC 2045)."""

import re
from binascii import b2a_qp
from typing import Final

WIDTH: Final = 72
_QUOTED: Final = re.compile(r"(?:>[ ]?)+")
_DASHES: Final = re.compile(r"-- ?")


def flowed(text: str) -> str:
    """The text in lines joined by CRLF: long ones end in a blank where they go on.

    Lines that begin with `> ` are quoted ones. `--` alone would begin a signature: a zero-width space parts it.
    `From `, blanks and `>` at the beginning of what wraps are stuffed.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        mark = found[0] if (found := _QUOTED.match(line)) else ""
        depth = mark.count(">")
        said = line[len(mark) :].rstrip(" ")
        if _DASHES.fullmatch(said):
            said = "-\u200b-"
        lines += _wrapped(said, ">" * depth)
    return "\r\n".join(lines) + "\r\n"


def unflowed(text: str) -> str:
    """The text that `flowed` was given, but for quote marks (`>` before each level) and blanks at the end of lines."""
    lines: list[str] = []
    open_at: int | None = None
    for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        said = line[depth:].removeprefix(" ")
        if open_at == depth:
            lines[-1] += said
        else:
            lines.append(("> " * depth if depth else "") + said)
        open_at = depth if said.endswith(" ") else None
    return "\n".join(lines)


def _wrapped(said: str, quote: str) -> list[str]:
    lines: list[str] = []
    while len(said) > WIDTH:
        cut = said.rfind(" ", 0, WIDTH) + 1
        # A blank that would be stripped, or a lone word, is left where it is.
        if cut <= 0 or not said[cut:].strip():
            following = said.find(" ", WIDTH) + 1
            if following <= 0 or not said[following:].strip():
                break
            cut = following
        lines.append(said[:cut])
        said = said[cut:]
    lines.append(said)
    return [f"{quote} {one}" if quote else _stuffed(one) for one in lines]


def _stuffed(line: str) -> str:
    return f" {line}" if line.startswith((" ", ">", "From ")) else line


def quoted_printable(text: str) -> bytes:
    """UTF-8 in quoted-printable: lines of at most 76 bytes with CRLF, none that begins with `.` or `From `."""
    encoded = b2a_qp(text.replace("\r\n", "\n").encode(), istext=True, header=False)
    lines = encoded.split(b"\n")
    return b"\r\n".join(_guarded(line) for line in lines)


def _guarded(line: bytes) -> bytes:
    if line.startswith(b"."):
        return b"=2E" + line[1:] if len(line) < 75 else b"=2E=\r\n" + line[1:]
    if line.startswith(b"From "):
        return b"=46" + line[1:] if len(line) < 75 else b"=46=\r\n" + line[1:]
    return line
