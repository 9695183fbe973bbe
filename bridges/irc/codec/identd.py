"""Questions to an ident server and its answers (RFC 1413), without input or output."""

import re
from typing import Final

QUERY_LIMIT: Final = 64
"""Bytes of a question that are read; two numbers and a comma need far fewer."""
_QUERY: Final = re.compile(rb"[ \t]*([0-9]{1,5})[ \t]*,[ \t]*([0-9]{1,5})[ \t]*\r?", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9._~-]{1,32}", re.ASCII)


def read_query(line: bytes) -> tuple[int, int] | None:
    """Our port and the asker's, as it says; None for anything else."""
    match = _QUERY.fullmatch(line)
    if match is None:
        return None
    ours, theirs = int(match[1]), int(match[2])
    return (ours, theirs) if 0 < ours < 65536 and 0 < theirs < 65536 else None


def answer(ours: int, theirs: int, name: str | None) -> bytes:
    """The answer's line: a user name, or that there is no such connection. Raises ValueError for what is no name."""
    if name is None:
        return b"%d, %d : ERROR : NO-USER\r\n" % (ours, theirs)
    if not _NAME.fullmatch(name):
        raise ValueError("not a user name")
    return b"%d, %d : USERID : UNIX : %b\r\n" % (ours, theirs, name.encode())


INVALID: Final = b"0, 0 : ERROR : INVALID-PORT\r\n"
