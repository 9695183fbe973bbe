"""`matrix-bridge email import` and `quarantine`: files of old mails, and mails that were set aside."""

import argparse
import asyncio
import mailbox
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge_core.api.commands import CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId, UserId
from bridges.email.ahead import Owners
from bridges.email.codec.addresses import parse_address
from bridges.email.commands import MailCommands
from bridges.email.config.network import EmailConfig
from bridges.email.envelopes import decode
from bridges.email.mail import Door
from bridges.email.spool import Spool
from bridges.email.spooled import Arrival, Waiting
from bridges.email.tools.archives import mails_in
from bridges.email.tools.command import EmailTool
from tests.bridges.email.mailing import MailHost
from tests.bridges.email.office import BOX, CONFIG


class Stopped:
    """A place with one email network that keeps what a host in memory holds."""

    def __init__(self, **receiving: Any) -> None:
        self.host = MailHost()
        self.settings = EmailConfig.model_validate({**CONFIG, "receiving": receiving})
        self.networks = {NetworkId("mail"): self.settings}

    @asynccontextmanager
    async def open(self, network: NetworkId) -> AsyncIterator[Any]:
        yield self.host

    def call(self, *words: str) -> int:
        """The exit code of a call."""
        tool, parser = EmailTool(), argparse.ArgumentParser()
        tool.add_arguments(parser)
        place: Any = self
        return tool.run(parser.parse_args(words), place)

    def spool(self) -> Spool:
        """The spool as the bridge would see it."""
        host: Any = self.host
        return Spool(host, most_mails=1000, most_bytes=1 << 30)

    async def waiting(self, spool: Spool) -> list[Arrival]:
        """What waits in a spool that was not started yet, oldest first."""
        seen: list[Waiting] = []
        spool.watch = seen.append
        await spool.start()
        turns = sorted(seen, key=lambda one: (one.received_at, one.key))
        return [found for one in turns if (found := await spool.open(one.key)) is not None]

    def arrivals(self) -> list[tuple[Any, Any, bytes]]:
        """What waits to be shown: envelope, verdict, raw mail; in the order in which it will be."""

        found = asyncio.run(self.waiting(self.spool()))
        return [(one.envelope, one.verdict, self.host.blobs.files[one.blob]) for one in found]


def letter(number: int, year: int = 2020) -> EmailMessage:
    """An old mail."""
    mail = EmailMessage()
    mail["From"] = f"Bob <bob{number}@x.net>"
    mail["Message-ID"] = f"<{number}@x.net>"
    mail["Date"] = f"Tue, 03 Mar {year} 10:00:00 +0000"
    mail["Subject"] = f"Number {number}"
    mail.set_content(f"Hello\n\nFrom here on {number}\n")
    return mail


def mbox(path: Path, *mails: EmailMessage) -> Path:
    """An mbox file."""
    box = mailbox.mbox(path)
    for mail in mails:
        box.add(mail)
    box.close()
    return path


def test_an_mbox_comes_in_once_oldest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mail is in the spool as it was written, due in the order of their dates; a second import adds nothing."""
    place = Stopped()
    path = mbox(tmp_path / "old", letter(1, 2021), letter(2, 2020))
    before = path.read_bytes()
    assert place.call("import", str(path), "--into", BOX) == 0
    assert capsys.readouterr().out == "2 imported\n"
    (second, verdict, raw), (first, _, _) = place.arrivals()
    assert (second.sender.key, first.sender.key) == ("bob2@x.net", "bob1@x.net")
    assert second.door is Door.IMPORT and [str(one) for one in second.recipients] == [BOX]
    assert not verdict.verified and verdict.reason
    assert raw.endswith(b"\r\n\r\nHello\r\n\r\nFrom here on 2\r\n") and b"\n" not in raw.replace(b"\r\n", b"")
    assert place.call("import", str(path), "--into", BOX) == 0
    assert capsys.readouterr().out == "0 imported, 2 were there already\n"
    assert len(place.arrivals()) == 2
    assert path.read_bytes() == before


def test_a_maildir_is_believed_where_the_admin_says_so(tmp_path: Path) -> None:
    """Both of its folders are read; authors are verified only by `--believe`."""
    box = mailbox.Maildir(tmp_path / "box", create=True)
    box.add(letter(1))
    seen = mailbox.MaildirMessage(letter(2))
    seen.set_subdir("cur")
    box.add(seen)
    place = Stopped()
    assert place.call("import", "--into", BOX, "--believe", str(tmp_path / "box")) == 0
    found = place.arrivals()
    assert len(found) == 2
    assert all(verdict.verified and verdict.author.key == envelope.sender.key for envelope, verdict, _ in found)


def test_what_cannot_be_imported_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No mailbox of the settings, no mbox, no Maildir: nothing is taken. A mail that is too large: the others are."""
    place = Stopped(largest=65_536)
    (tmp_path / "text").write_text("Hello")
    for path, into in ((tmp_path, BOX), (tmp_path / "text", BOX), (tmp_path / "none", BOX), (tmp_path, "x@y.net")):
        with pytest.raises(RejectedError):
            place.call("import", str(path), "--into", into)
    large = letter(1)
    large.set_content("x" * 70 + "\n" + ("y" * 70 + "\n") * 1000)
    assert place.call("import", str(mbox(tmp_path / "old", large, letter(2))), "--into", BOX) == 1
    said = capsys.readouterr()
    assert said.out == "1 imported, 1 could not be taken\n" and "mail 1: " in said.err
    assert len(place.host.blobs.files) == 1


def test_a_full_spool_ends_an_import_that_goes_on_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What there is no room for is not lost: it is said, and the next import takes up there."""
    place = Stopped(most_mails=2)
    path = mbox(tmp_path / "old", *(letter(number) for number in range(5)))
    assert place.call("import", str(path), "--into", BOX) == 1
    assert "2 imported" in (said := capsys.readouterr().err) and "import again" in said
    assert len(place.arrivals()) == len(place.host.blobs.files) == 2


def test_an_mbox_loses_its_marks_and_odd_line_ends(tmp_path: Path) -> None:
    """`>From ` is `From ` again, one level of it; LF and CR become CRLF; long lines come in pieces."""
    path = tmp_path / "odd"
    path.write_bytes(b"From x\nA: b\n\n>From me\r\n>>From you\n" + b"z" * 65_535 + b"\r\nend\rof\n")
    count, mails = mails_in(path)
    (pieces,) = [list(opened()) for opened in mails]
    assert count == 1 and max(map(len, pieces)) <= 65_537
    wanted = b"A: b\r\n\r\nFrom me\r\n>From you\r\n" + b"z" * 65_535 + b"\r\nend\r\nof\r\n"
    assert b"".join(pieces) == wanted


def test_the_quarantine_is_listed_and_written_out(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The admin gets the raw mail as it came, into a new file of his own or to standard output."""
    place = Stopped()
    place.call("import", str(mbox(tmp_path / "old", letter(1), letter(2))), "--into", BOX)

    async def set_aside() -> str:
        spool = place.spool()
        first, second = await place.waiting(spool)
        await spool.quarantine(first, "it is odd")
        await spool.quarantine(second, "it is odd, too")
        running: Any = SimpleNamespace(spool=spool)
        bot = {one.name: one.run for one in MailCommands(lambda: running).commands()}
        listed = await bot["quarantine"](CommandCall(UserId("@root:hs.test"), CommandLevel.ADMIN))
        assert f"{second.item.key[:16]}  " in listed and "bob2@x.net -> " in listed and "it is odd, too" in listed
        assert listed.count("\n") == 1 and second.item.key not in listed
        short = {"key": second.item.key[:8].upper()}
        assert "gone" in await bot["quarantine-drop"](CommandCall(UserId("@root:hs.test"), CommandLevel.ADMIN, short))
        for wrong in ("", "nothing"):
            with pytest.raises(RejectedError):
                await bot["quarantine-retry"](CommandCall(UserId("@root:hs.test"), CommandLevel.ADMIN, {"key": wrong}))
        return first.item.key

    key = asyncio.run(set_aside())
    capfdbinary.readouterr()
    assert place.call("quarantine", "list") == 0
    listed = capfdbinary.readouterr().out.decode()
    assert key[:16] in listed and "it is odd" in listed and "@x.net -> " in listed
    raw = place.host.blobs.files[decode(place.host.queue("quarantine").items[key].body.partition(b"\0")[2])[2]]
    assert place.call("quarantine", "show", key[:10]) == 0
    assert capfdbinary.readouterr().out == raw
    out = tmp_path / "mail.eml"
    assert place.call("quarantine", "show", key, "-o", str(out)) == 0
    assert out.read_bytes() == raw and out.stat().st_mode & 0o777 == 0o600
    for words in (("show", key, "-o", str(out)), ("show", "nothing")):
        with pytest.raises(RejectedError):
            place.call("quarantine", *words)
    assert place.call("quarantine", "show") == 2


def test_the_quarantine_is_tried_again_and_thrown_away(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """One waits to be shown at the next start, as it came; of the other nothing is left."""
    place = Stopped()
    place.call("import", str(mbox(tmp_path / "old", letter(1), letter(2))), "--into", BOX)

    async def set_aside() -> list[str]:
        spool = place.spool()
        waiting = await place.waiting(spool)
        for one in waiting:
            await spool.quarantine(one, "it is odd")
        return [one.item.key for one in waiting]

    first, second = asyncio.run(set_aside())
    assert place.arrivals() == []
    assert place.call("quarantine", "retry", first) == 0
    assert place.call("quarantine", "drop", second) == 0
    assert len(place.arrivals()) == len(place.host.blobs.files) == 1
    capfdbinary.readouterr()
    assert place.call("quarantine", "list") == 0
    assert capfdbinary.readouterr().out == b"Nothing is set aside.\n"
    for action in ("retry", "drop"):
        assert place.call("quarantine", action) == 2
        with pytest.raises(RejectedError):
            place.call("quarantine", action, first)


def test_old_mail_comes_into_a_users_own_mailbox(tmp_path: Path) -> None:
    """An address that a Matrix user has takes an import; one that is nobody's yet says how it becomes somebody's."""
    place = Stopped()
    old = str(mbox(tmp_path / "old", letter(1)))
    with pytest.raises(RejectedError, match="nobody's yet"):
        place.call("import", old, "--into", "alice@example.org")
    own = parse_address("alice@example.org")
    kv: Any = place.host.kv
    assert asyncio.run(Owners(kv).take(own, UserId("@alice:hs.test")))
    assert place.call("import", old, "--into", "Alice+old@example.org") == 0
    ((envelope, _, _),) = place.arrivals()
    assert [one.key for one in envelope.recipients] == [own.key]
