"""LMTP, and mails in chunks."""

import asyncio
from pathlib import Path

import pytest

from bridges.email.config.receiving import DoorConfig
from bridges.email.mail import Door
from bridges.email.ports import Reply
from tests.bridges.email.smtp.rig import MAIL, TO_ALICE, Caller, open_doors

TO_BOTH = (*TO_ALICE, "RCPT TO:<bob@bridge.test>")


async def test_one_answer_for_each_recipient(tmp_path: Path) -> None:
    """After a mail was taken, refused, or too large (RFC 2033 section 4.2)."""
    async with open_doors(tmp_path, Door.LMTP, largest=100_000) as stage, await Caller.call(stage.port) as client:
        assert "LMTP" in await client.hear()
        assert (await client.say("EHLO x")).startswith("502")
        assert "PIPELINING" in await client.say("LHLO mx.test")
        for body, code in ((MAIL, "250"), (MAIL + b"x" * 65_000 + b"\r\n" + b"x" * 65_000 + b"\r\n", "552")):
            await client.say(*TO_BOTH, "DATA")
            client.send(body + b".\r\n")
            assert [(await client.hear())[:3] for _ in range(2)] == [code, code]
        stage.backstage.refusals["mail"] = Reply(550, "5.7.1", "no")
        await client.say(*TO_BOTH, "DATA")
        client.send(MAIL + b".\r\n")
        assert [(await client.hear())[:3] for _ in range(2)] == ["550", "550"]
        await client.say("MAIL FROM:<x@far.test>", "RCPT TO:<no@bridge.test>")
        assert (await client.say("DATA")).startswith("503")
        assert (await client.say("NOOP")).startswith("250")
    [(envelope, raw)] = stage.mails
    assert len(envelope.recipients) == 2
    assert b"with LMTP id" in raw


async def test_a_socket_in_the_file_system(tmp_path: Path) -> None:
    """With its mode; what an earlier run left is no hindrance; it goes with the server."""
    path = tmp_path / "lmtp.sock"
    door = DoorConfig(kind=Door.LMTP, listen=f"unix:{path}")
    (await asyncio.start_unix_server(lambda _r, _w: None, str(path))).close()
    assert path.exists()
    async with open_doors(tmp_path, doors=(door,)) as stage:
        assert path.stat().st_mode & 0o777 == 0o660
        async with Caller(*await asyncio.open_unix_connection(str(path))) as client:
            await client.ready("LHLO mx.test", *TO_ALICE, "DATA")
            client.send(MAIL + b".\r\n")
            assert (await client.hear()).startswith("250")
        assert stage.mails[0][0].peer == ""
        assert b"([local])" in stage.mails[0][1]
    assert not path.exists()


async def test_lmtp_is_not_for_everybody(tmp_path: Path) -> None:
    """What comes by LMTP is believed, so it is taken from the own servers only."""
    async with (
        open_doors(tmp_path, Door.LMTP, lmtp_peers=["192.0.2.0/24"]) as stage,
        await Caller.call(stage.port) as client,
    ):
        assert (await client.hear()).startswith("421 4.7.1")
        assert await client.ended()


@pytest.mark.parametrize("kind", [Door.SMTP, Door.LMTP])
async def test_a_mail_in_chunks(tmp_path: Path, kind: Door) -> None:
    """BDAT: bytes as they are, dots too; pipelined; the answer comes with the last chunk."""
    async with open_doors(tmp_path, kind) as stage, await Caller.call(stage.port) as client:
        await client.ready("LHLO x" if kind is Door.LMTP else "EHLO x")
        client.send(b"MAIL FROM:<x@far.test>\r\nRCPT TO:<alice@bridge.test>\r\nRCPT TO:<bob@bridge.test>\r\n")
        client.send(b"BDAT %d\r\n" % len(MAIL) + MAIL + b"BDAT 7 LAST\r\n.\r\n.a\r\n")
        answers = [(await client.hear())[:3] for _ in range(5 if kind is Door.SMTP else 6)]
        assert set(answers) == {"250"}
        assert (await client.say("NOOP")).startswith("250")
    assert stage.bodies == [MAIL + b".\r\n.a\r\n"]


async def test_chunks_out_of_place(tmp_path: Path) -> None:
    """What belongs to no mail is skipped; other commands wait for the last chunk; RSET forgets the mail."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        client.send(b"BDAT 6 LAST\r\nQUIT\r\n")
        assert (await client.hear()).startswith("503")
        await client.say("MAIL FROM:<x@far.test>")
        client.send(b"BDAT 6 LAST\r\nQUIT\r\n")
        assert (await client.hear()).startswith("503")
        await client.say("RCPT TO:<alice@bridge.test>")
        client.send(b"BDAT 3\r\na\r\n")
        assert (await client.hear()).startswith("250")
        assert (await client.say("DATA")).startswith("503")
        assert (await client.say("MAIL FROM:<y@far.test>")).startswith("503")
        assert (await client.say("RSET")).startswith("250")
        client.send(b"BDAT 0 LAST\r\n")
        assert (await client.hear()).startswith("503")
        assert stage.spooled() == 0
        assert (await client.say(*TO_ALICE)).startswith("250")
        client.send(b"BDAT x\r\n")
        assert (await client.hear()).startswith("501")
        assert await client.ended()
    assert stage.mails == []


@pytest.mark.parametrize("text", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\nb\r"])
async def test_bare_line_ends_in_chunks(tmp_path: Path, text: bytes) -> None:
    """Refused too: a header could hide behind one."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready("EHLO x", *TO_ALICE)
        client.send(b"BDAT %d LAST\r\n" % len(text) + text)
        assert (await client.hear()).startswith("550 5.5.2")
        assert await client.ended()
        assert stage.spooled() == 0


async def test_a_large_mail_in_chunks_is_read_to_its_end(tmp_path: Path) -> None:
    """Over the limit: 552 at the last chunk, and the connection goes on."""
    async with open_doors(tmp_path, largest=100_000) as stage, await Caller.call(stage.port) as client:
        await client.ready("EHLO x", *TO_ALICE)
        for _ in range(3):
            client.send(b"BDAT 50000\r\n" + b"x" * 49_998 + b"\r\n")
            assert (await client.hear()).startswith("250")
        client.send(b"BDAT 0 LAST\r\n")
        assert (await client.hear()).startswith("552")
        assert (await client.say("NOOP")).startswith("250")
        assert stage.spooled() == 0
