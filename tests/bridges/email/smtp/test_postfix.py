"""Real clients: Postfix by SMTP and by LMTP, its load generator, and swaks."""

import asyncio
import fcntl
import os
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest

from bridges.email.config.receiving import DoorConfig
from bridges.email.mail import Door
from bridges.email.ports import Reply
from tests.bridges.email.smtp.rig import Stage, open_doors
from tests.servers.certificate import make_certificate
from tests.servers.postfix import Postfix
from tests.servers.server import find_command

pytestmark = pytest.mark.server
WAIT = 60.0


@asynccontextmanager
async def postfix_to(folder: Path, route: str) -> AsyncIterator[Postfix]:
    """A Postfix that brings mail for bridge.test there."""
    server = Postfix(folder / "postfix", {"bridge.test": route})
    try:
        await server.start()
        yield server
    finally:
        await server.close()


def post(server: Postfix, number: int, recipients: list[str]) -> None:
    """Give Postfix a mail."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "x@far.test", ", ".join(recipients), f"<{number}@far.test>"
    mail["Subject"] = f"number {number}"
    mail.set_content(f"Hello {number}.\n.\n..\nbye")
    with smtplib.SMTP(server.host, server.port, timeout=30) as client:
        client.send_message(mail, "x@far.test", recipients)


async def arrived(stage: Stage, count: int) -> None:
    """Wait until that many mails are here."""
    async with asyncio.timeout(WAIT):
        while len(stage.mails) < count:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("way", ["smtp", "lmtp", "unix"])
async def test_postfix_brings_mail(tmp_path: Path, way: str) -> None:
    """A refusal for now makes it come again, once; what is refused for good is not kept; its queue is empty then."""
    kind = Door.SMTP if way == "smtp" else Door.LMTP
    door = DoorConfig(kind=kind, listen="127.0.0.1:0")
    # The folder of a test is for its user alone, and Postfix runs as its own.
    path = Path(f"/tmp/bridge-lmtp-{tmp_path.name[-20:]}-{id(tmp_path)}.sock")
    if way == "unix":
        door = DoorConfig(kind=kind, listen=f"unix:{path}", socket_mode=0o666)
    async with open_doors(tmp_path, doors=(door,)) as stage:
        route = {
            "smtp": lambda: f"smtp:[127.0.0.1]:{stage.port}",
            "lmtp": lambda: f"lmtp:inet:127.0.0.1:{stage.port}",
            "unix": lambda: f"lmtp:unix:{path}",
        }[way]()
        stage.backstage.refusals["mail"] = Reply(451, "4.7.1", "not now")
        async with postfix_to(tmp_path, route) as server:
            await asyncio.to_thread(post, server, 1, ["alice@bridge.test", "bob@bridge.test", "no@bridge.test"])
            async with asyncio.timeout(WAIT):
                while "451 4.7.1" not in server.log_file.read_text():
                    await asyncio.sleep(0.05)
            assert stage.mails == []
            stage.backstage.refusals.clear()
            await server.flush()
            await arrived(stage, 1)
            async with asyncio.timeout(WAIT):
                while await server.waiting():
                    await asyncio.sleep(0.05)
            log = server.log_file.read_text()
    assert "550 5.1.1 no such mailbox" in log
    [(envelope, raw)] = stage.mails
    assert sorted(str(one) for one in envelope.recipients) == ["alice@bridge.test", "bob@bridge.test"]
    assert envelope.helo == "mail.test"
    assert raw.count(b"\nReceived: ") >= 1
    assert raw.endswith(b"Hello 1.\r\n.\r\n..\r\nbye\r\n")


async def test_a_mailing_of_two_hundred(tmp_path: Path) -> None:
    """All arrive, each once, and none is left in Postfix."""
    async with open_doors(tmp_path) as stage, postfix_to(tmp_path, f"smtp:[127.0.0.1]:{stage.port}") as server:
        command = [find_command("smtp-source", "postfix"), "-s", "10", "-m", "200", "-l", "2048"]
        command += ["-f", "x@far.test", "-t", "alice@bridge.test", f"{server.host}:{server.port}"]
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0
        await arrived(stage, 200)
        async with asyncio.timeout(WAIT):
            while await server.waiting():
                await asyncio.sleep(0.05)
    assert len(stage.mails) == 200
    assert len({raw.split(b"Message-Id: ")[1].split(b"\r\n")[0] for _, raw in stage.mails}) == 200


async def test_a_mail_that_postfix_found_locked_comes(tmp_path: Path) -> None:
    """The Postfix of the tests takes up a mail that it found locked as soon as its minute is over, not after five."""
    async with open_doors(tmp_path) as stage, postfix_to(tmp_path, f"smtp:[127.0.0.1]:{stage.port}") as server:
        stage.backstage.refusals["mail"] = Reply(451, "4.7.1", "not now")
        await asyncio.to_thread(post, server, 1, ["alice@bridge.test"])
        async with asyncio.timeout(WAIT):
            while not (found := [one for one in (server.place / "spool" / "deferred").rglob("*") if one.is_file()]):
                await asyncio.sleep(0.01)
            with found[0].open("r+b") as file:
                await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
                while "skipped, still being delivered" not in server.log_file.read_text():
                    await asyncio.sleep(0.01)
            while not (found := [one for one in (server.place / "spool" / "incoming").rglob("*") if one.is_file()]):
                await asyncio.sleep(0.01)
        stage.backstage.refusals.clear()
        os.utime(found[0], (0, 0))  # the minute is over
        await arrived(stage, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "right"], 0, "235 2.7.0"),
        (["--tls", "--auth", "LOGIN", "--auth-user", "alice", "--auth-password", "right"], 0, "235 2.7.0"),
        (["--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "wrong"], 28, "535 5.7.8"),
        (["--tls"], 23, "530 5.7.0"),
        ([], 23, "530 5.7.0"),
        (["--tls", "--pipeline", "--auth-user", "alice", "--auth-password", "right"], 0, "250 2.0.0"),
    ],
)
async def test_swaks(tmp_path: Path, arguments: list[str], code: int, word: str) -> None:
    """The submission door, as a script or a mail program uses it."""
    certificate = make_certificate(tmp_path / "tls")
    files = {"certificate": str(certificate.chain), "key": str(certificate.key)}
    async with open_doors(tmp_path, Door.SUBMISSION, **files) as stage:
        command = [find_command("swaks", "swaks"), "--server", f"127.0.0.1:{stage.port}", *arguments]
        command += ["--from", "alice@bridge.test", "--to", "x@far.test"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert word in output.decode()
        assert process.returncode == code, output.decode()
        assert len(stage.mails) == (code == 0)
