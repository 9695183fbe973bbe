"""What a demo of encryption finds in what is stored, in whatever form it is there."""

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bridge_core.demo.encrypted import search as module
from bridge_core.demo.encrypted.search import needles, search

WORDS = "these are the words 5c0ffee"


def test_needles_are_the_plain_parts() -> None:
    """Begin and end of each text's longest part that is written the same everywhere; what is short says nothing."""
    assert needles(["short", "waves across the bridge", 'a "quoted"\nvery long sentence']) == [
        "waves across the bridge",
        "very long sentence",
    ]
    long = " ".join(f"word{number:03d}" for number in range(100))
    assert needles([long]) == [long[:48], long[-48:]]


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_base64_is_seen_through(tmp_path: Path, before: str, after: str) -> None:
    """Words within base64 are found wherever they begin and end."""
    (tmp_path / "file").write_bytes(base64.b64encode(f"{before}{WORDS}{after}".encode()))
    assert search(tmp_path, [WORDS, "other words than these"]) == {WORDS: {"file"}, "other words than these": set()}


@pytest.mark.parametrize(
    "written",
    [WORDS.encode(), WORDS.encode("utf-16-le"), WORDS.encode("utf-16-be"), WORDS.encode().hex().encode()],
    ids=["utf-8", "utf-16-le", "utf-16-be", "hex"],
)
def test_files_of_every_kind(tmp_path: Path, written: bytes) -> None:
    """Words in a file, however deep and whatever is around them, are found."""
    deep = tmp_path / "media" / "local_content" / "ab"
    deep.mkdir(parents=True)
    (deep / "cd").write_bytes(b"\0\xff" * 1000 + written + b"\xff\0")
    assert search(tmp_path, [WORDS])[WORDS] == {"media/local_content/ab/cd"}


def test_every_table_is_read(tmp_path: Path) -> None:
    """Words in a row are found though the file holds them in pieces, on two pages; the table is named."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA page_size = 512")
        database.execute('CREATE TABLE "odd ""name" (id INTEGER, body BLOB)')
        # A page that a value overflows into takes 508 bytes, the last one its end.
        body = b"x" * 600 + WORDS.encode() + b"x" * (508 - len(WORDS) // 2)
        database.execute('INSERT INTO "odd ""name" VALUES (1, ?)', (body,))
        database.commit()
    assert WORDS.encode() not in path.read_bytes()
    assert search(tmp_path, [WORDS])[WORDS] == {'a.db:odd "name'}


def test_what_is_not_in_the_database_file_yet(tmp_path: Path) -> None:
    """Words that are in the write-ahead log only are found in it, and in the row, while the database is in use."""
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (body TEXT)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("INSERT INTO t VALUES (?)", (WORDS,))
        database.commit()
        assert search(tmp_path, [WORDS])[WORDS] == {"a.db-wal", "a.db:t"}


def test_a_table_that_goes_meanwhile_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database in use is read as it was at one moment."""
    look = module._look

    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE first (body TEXT)")
        database.execute("CREATE TABLE second (body TEXT)")
        database.execute("INSERT INTO second VALUES (?)", (WORDS,))
        database.commit()

        def drops(data: bytes, place: str, *more: Any) -> None:
            if place == "a.db:first":
                database.execute("DROP TABLE second")
            look(data, place, *more)

        monkeypatch.setattr(module, "_look", drops)
        assert "a.db:second" in search(tmp_path, [WORDS])[WORDS]


def test_a_database_that_cannot_be_read(tmp_path: Path) -> None:
    """It raises: what was not looked at is not called clean."""
    (tmp_path / "a.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 2000)
    with pytest.raises(sqlite3.Error):
        search(tmp_path, [WORDS])
