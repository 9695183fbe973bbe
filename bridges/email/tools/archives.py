"""Old mails in files: mbox (RFC 4155) and Maildir. They are read and never changed."""

import mailbox
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bridge_core.api.errors import RejectedError

_PIECE: Final = 65_536
_QUOTED: Final = re.compile(rb">+From ")
_ENDS: Final = re.compile(rb"\r\n|\r|\n")
Opener = Callable[[], Iterator[bytes]]


def mails_in(path: Path) -> tuple[int, Iterator[Opener]]:
    """How many mails a file or folder holds, and what opens each, in the order in which they lie there.

    A mail comes in pieces of at most 64 KiB, with CRLF at the end of its lines. Blocks. Raises RejectedError in words.
    """
    try:
        if path.is_dir():
            if not (path / "cur").is_dir() or not (path / "new").is_dir():
                raise RejectedError(f"{path} is no Maildir: it has no folders `cur` and `new`")
            return _opened(mailbox.Maildir(path, create=False), quoted=False)
        with path.open("rb") as file:
            if file.read(5) != b"From ":
                raise RejectedError(f"{path} is no mbox: it does not begin with `From `")
        return _opened(mailbox.mbox(path, create=False), quoted=True)
    except OSError as error:
        raise RejectedError(f"{path} cannot be read: {error.strerror}") from error


def _opened(box: "mailbox.Mailbox[Any]", *, quoted: bool) -> tuple[int, Iterator[Opener]]:
    keys = list(box.keys())
    return len(keys), (lambda key=key: _pieces(box.get_file(key), quoted=quoted) for key in keys)


def _pieces(file: Any, *, quoted: bool) -> Iterator[bytes]:
    """The mail, with line ends as they are on the wire, and without the mark that an mbox puts before `From `."""
    with file:
        begins = True
        while piece := file.readline(_PIECE):
            if piece.endswith(b"\r"):
                piece += file.read(1)  # a long line was cut within its end
            if begins and quoted and _QUOTED.match(piece):
                piece = piece[1:]
            begins = piece.endswith(b"\n")
            yield _ENDS.sub(b"\r\n", piece)
