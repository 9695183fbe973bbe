"""`matrix-bridge journal` and `matrix-bridge db`, on a database as a bridge leaves it."""

import asyncio
from pathlib import Path

import pytest

from bridge_core.cli.main import main
from bridge_core.config import load_config
from bridge_core.engine.ports import Direction, NewEntry, Outcome, Settlement
from bridge_core.journal.journal import DurableJournal, JournalSettings
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal
from tests.unit.store.opening import crash


class Folder:
    """A configuration, and the bridge's database as seen by the command line."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys
        flags = ["--homeserver", "http://127.0.0.1:1", "--domain", "example.org", "--no-input"]
        network = ["--network", "libera=irc", "--set", "networks.libera.server=x"]
        assert main(["init", "-c", str(path / "config.yaml"), *flags, *network]) == 0
        capsys.readouterr()

    def call(self, *words: str) -> tuple[int, str]:
        """Exit code and everything printed."""
        config = ["-c", str(self.path / "config.yaml")]
        code = main([*words[:2], *config, *words[2:]])
        captured = self._capsys.readouterr()
        return code, captured.out + captured.err

    def database(self) -> Database:
        """The bridge's own."""
        loaded = load_config(self.path / "config.yaml")
        seal = Seal(loaded.config.journal.secret.get_secret_value())
        return Database(DatabaseSettings(loaded.database_url), seal)

    async def fill(self) -> None:
        """A run of a bridge that leaves one dead entry and one that waits."""
        database = self.database()
        await database.start()
        journal = DurableJournal(database, JournalSettings())
        await journal.start()
        new = [NewEntry(Direction.TO_MATRIX, "libera", "libera\x1f#a\x1f", b"top secret\x1b[2J", 5) for _ in range(2)]
        dead, _ = await journal.append(new)
        journal.settle(Settlement(dead.entry, "libera", Direction.TO_MATRIX, Outcome.DEAD, reason="gave up"))
        await journal.stop()
        await database.stop()


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    folder = Folder(tmp_path, capsys)
    asyncio.run(folder.fill())
    return folder


def test_dead_entries_are_listed_without_contents(folder: Folder) -> None:
    """`list` shows what died and why; nothing of what was said."""
    code, text = folder.call("journal", "list")
    assert code == 0
    assert text.split()[:4] == ["1", "dead", "to-matrix", "libera"]
    assert text.rstrip().endswith("libera #a  gave up")
    assert "secret" not in text
    assert len(folder.call("journal", "list", "--state", "all")[1].splitlines()) == 2
    assert folder.call("journal", "list", "--network", "other") == (0, "")


def test_contents_are_shown_only_when_revealed(folder: Folder) -> None:
    """`show` hides contents; with --reveal they are shown, without what a terminal would obey, and that is logged."""
    code, text = folder.call("journal", "show", "1")
    assert (code, "secret" in text) == (0, False)
    code, text = folder.call("journal", "show", "1", "--reveal")
    assert "top secret\\x1b[2J" in text
    assert "journal_content_revealed" in text
    assert folder.call("journal", "show", "99")[0] == 1


def test_replayed_and_dropped_entries_are_said(folder: Folder) -> None:
    """`replay` and `drop` act on the entries named, say so, and fail for those they cannot act on."""
    assert folder.call("journal", "replay", "1", "2")[0] == 1
    assert folder.call("journal", "list")[1] == ""
    assert len(folder.call("journal", "list", "--state", "pending")[1].splitlines()) == 2
    assert folder.call("journal", "drop", "1")[0] == 1
    code, text = folder.call("journal", "drop", "--pending", "1", "2")
    assert code == 0
    assert "2 dropped" in text
    assert folder.call("journal", "replay")[0] == 2
    assert folder.call("db", "status")[0] == 0


def test_a_running_bridge_is_read_but_not_changed(folder: Folder) -> None:
    """While a bridge owns the database, `list` and `status` work; `replay` and `upgrade` say that it must stop."""

    async def start() -> Database:
        database = folder.database()
        await database.start()
        return database

    with asyncio.Runner() as runner:
        database = runner.run(start())
        assert folder.call("journal", "list")[0] == 0
        assert folder.call("db", "status")[0] == 0
        for words in (("journal", "replay", "1"), ("db", "upgrade")):
            code, text = folder.call(*words)
            assert code == 1
            assert "stop it first" in text
        runner.run(database.stop())


def test_a_backup_is_a_database(folder: Folder) -> None:
    """`backup` makes a private copy that a bridge could run on, and replaces nothing."""
    target = folder.path / "copy.db"
    assert folder.call("db", "backup", str(target))[0] == 0
    assert target.stat().st_mode & 0o077 == 0
    assert folder.call("db", "backup", str(target))[0] == 1
    (folder.path / "bridge.db").unlink()
    assert folder.call("db", "status")[0] == 1
    target.rename(folder.path / "bridge.db")
    code, text = folder.call("db", "status")
    assert code == 0
    assert "accepted 2 = routed 1 + ignored 0 + waiting 1" in text


def test_looking_after_a_crashed_database_does_not_hide_the_crash(folder: Folder) -> None:
    """A replay between a crash and the next start leaves the crash to be seen by it."""

    async def handle_and_crash() -> None:
        database = folder.database()
        await database.start()
        database.start_handling()
        await database.writer.settled()
        await crash(database)

    asyncio.run(handle_and_crash())
    assert folder.call("journal", "replay", "1")[0] == 0

    async def start() -> bool:
        database = folder.database()
        await database.start()
        await database.stop()
        return database.last_run.clean

    assert not asyncio.run(start())
