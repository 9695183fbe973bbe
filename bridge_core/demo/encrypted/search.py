"""Looks for words in a folder: in the bytes of every file, and in every row of every SQLite database."""

import base64
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

__all__ = ["Found", "needles", "search"]

Found = dict[str, set[str]]
"""Where each needle was found: paths below the folder, with a table's name behind a colon."""

_SHORTEST = 12
_LONGEST = 48
# What JSON, HTML and SQL write as it is.
_PLAIN = re.compile(r"[A-Za-z0-9 .,:;!?_=+*()/-]+")
_SQLITE = b"SQLite format 3\0"


def needles(texts: Iterable[str]) -> list[str]:
    """What to look for so that none of the texts is missed: begin and end of each one's longest plain part.

    A part below 12 characters says nothing: it may be anywhere by chance.
    """
    found: dict[str, None] = {}
    for text in texts:
        part = max((one.strip() for one in _PLAIN.findall(text)), key=len, default="")
        if len(part) >= _SHORTEST:
            found |= {part[:_LONGEST]: None, part[-_LONGEST:]: None}
    return list(found)


def search(folder: Path, wanted: Sequence[str]) -> Found:
    """Each needle with the places where it is, in UTF-8, UTF-16, base64 or hex. Blocks on the disk.

    A database is read as a file, write-ahead log included, and row by row too: a value may lie on several pages.
    Raises OSError or sqlite3.Error rather than leaving something out.
    """
    forms = {needle: _forms(needle.encode()) for needle in wanted}
    found: Found = {needle: set() for needle in wanted}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        place = str(path.relative_to(folder))
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # gone since, such as a file that was being uploaded
            continue
        _look(data, place, forms, found)
        if data.startswith(_SQLITE):
            for table, rows in _tables(path):
                _look(rows, f"{place}:{table}", forms, found)
    return found


def _look(data: bytes, place: str, forms: Mapping[str, Sequence[bytes]], found: Found) -> None:
    for needle, ways in forms.items():
        if any(way in data for way in ways):
            found[needle].add(place)


def _forms(needle: bytes) -> list[bytes]:
    wide = [needle.decode().encode(code) for code in ("utf-16-le", "utf-16-be")]
    forms = [needle, *wide, needle.hex().encode(), needle.hex().upper().encode()]
    for before in range(3):  # bytes in front of it, of a group of three; the digits that are its alone
        whole = base64.b64encode(bytes(before) + needle)
        forms.append(whole[(before * 8 + 5) // 6 : (before + len(needle)) * 8 // 6])
    return forms


def _tables(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as database:
        database.text_factory = bytes
        database.execute("BEGIN")  # all tables as they were at one moment: homeservers have some that come and go
        names = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            quoted = name.replace('"', '""')
            rows = database.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 - a table's name, quoted
            yield name, b"\n".join(b"\t".join(map(_bytes, row)) for row in rows)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
