"""Conversations that nobody would lead: the doors answer or hang up, and let in only what was accepted."""

import asyncio
import itertools
import random
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridges.email.mail import Door
from tests.bridges.email.smtp.rig import Caller, Stage, open_doors

WORDS = [
    b"EHLO x\r\n",
    b"LHLO x\r\n",
    b"HELO y\r\n",
    b"MAIL FROM:<x@far.test>\r\n",
    b"MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\n",
    b"MAIL FROM:<j\xc3\xb6rg@far.test> SMTPUTF8\r\n",
    b"RCPT TO:<alice@bridge.test>\r\n",
    b"RCPT TO:<no@bridge.test>\r\n",
    b"RCPT TO:<postmaster>\r\n",
    b"RCPT TO:<x@elsewhere.test>\r\n",
    b"DATA\r\n",
    b"BDAT 10\r\n0123456\r\n.",
    b"BDAT 4 LAST\r\n\r\n\r\n",
    b"BDAT 0 LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY x\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN AGFsaWNlAHJpZ2h0\r\n",
    b"AUTH LOGIN\r\n",
    b"*\r\n",
    b"Subject: x\r\n\r\ntext\r\n",
    b"\r\n.\r\n",
    b".\r\n",
    b"..\r\n",
]
ODD = [b"\n", b"\r", b"\0", b"\xff\xfe", b"x" * 3000, b" " * 50, b"<>:@", b"QUIT\r\n"]


LIKELY = {
    Door.SMTP: [0, 3, 6, 10, 21, 22],
    Door.LMTP: [1, 3, 6, 8, 10, 21, 22],
    Door.SUBMISSION: [0, 18, 4, 9, 10, 21, 22],
}


def conversation(chance: random.Random, kind: Door) -> list[bytes]:
    """What is sent, in pieces that end anywhere, and behind most DATAs."""
    likely = [WORDS[number] for number in LIKELY[kind]]
    parts = chance.choices(WORDS, k=chance.randint(1, 12)) if chance.random() < 0.3 else likely * chance.randint(1, 2)
    for _ in range(chance.randint(0, 2)):
        parts.insert(chance.randint(0, len(parts)), chance.choice(ODD if chance.random() < 0.5 else WORDS))
    data = b"".join(parts)
    if chance.random() < 0.3:
        at = chance.randrange(len(data))
        data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    cuts = {chance.randrange(len(data) + 1) for _ in range(chance.randint(0, 6))}
    if chance.random() < 0.9:
        cuts |= {found.end() for found in re.finditer(rb"DATA\r\n", data)}
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


async def lead(stage: Stage, pieces: list[bytes], *, waits: bool) -> str:
    """Send them and hang up; all that was answered."""
    async with await Caller.call(stage.port) as client:
        await client.hear()
        heard = b""
        for piece in pieces:
            client.send(piece)
            # Behind DATA until there is an answer, else perhaps for a moment.
            patience = 0.3 if piece.endswith(b"DATA\r\n") else 0.005 if waits else 0.0
            while patience:
                try:
                    async with asyncio.timeout(patience):
                        more = await client.reader.read(65_536)
                except (TimeoutError, ConnectionError):
                    break
                heard += more
                patience = 0.02 if more else 0.0
        client.writer.write_eof()
        async with asyncio.timeout(60):
            try:
                heard += await client.reader.read()
            except ConnectionError:
                heard += b""
    return heard.decode("ascii")


@pytest.mark.parametrize("kind", [Door.SMTP, Door.SUBMISSION, Door.LMTP])
async def test_any_conversation(tmp_path: Path, kind: Door) -> None:
    """Nothing breaks, every answer is an answer, and all that is kept was said to be kept or could not be said."""
    chance = random.Random(f"conversations by {kind}")
    settings = {"plain_passwords": True, "times": {"command": 5, "data": 5}}
    with capture_logs() as logs:
        async with open_doors(tmp_path, kind, **settings) as stage:
            for _ in range(100):
                before = len(stage.mails)
                heard = await lead(stage, conversation(chance, kind), waits=chance.random() < 0.3)
                lines = heard.split("\r\n")
                assert lines.pop() == ""
                assert all(line[:3].isdigit() and line[3:4] in (" ", "-") for line in lines), heard
                taken = [line for line in lines if "accepted as" in line]
                assert len(set(taken)) == len(stage.mails) - before, heard
            assert stage.spooled() == len(stage.mails) > 10
            # Any of the addresses may have been damaged: elsewhere nobody gets without a password.
            assert all(
                mail.login or str(one) in ("alice@bridge.test", "postmaster@bridge.test")
                for mail, _ in stage.mails
                for one in mail.recipients
            )
    assert [log for log in logs if log["log_level"] in ("warning", "error")] == []
