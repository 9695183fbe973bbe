"""Bytes that servers disagree about: every form is refused, and nothing is taken for what it is not."""

from pathlib import Path

import pytest

from bridges.email.mail import Door
from tests.bridges.email.smtp.rig import MAIL, TO_ALICE, Caller, open_doors

SMUGGLED = b"MAIL FROM:<ceo@bridge.test>\r\nRCPT TO:<bob@bridge.test>\r\nDATA\r\nSubject: forged\r\n\r\nx\r\n.\r\n"
ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r\n\x00.\r\n",
    b"\r\n.\r\r\n",
    b"\n\r\n.\r\n",
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", [Door.SMTP, Door.LMTP])
async def test_no_form_of_an_end_but_one(tmp_path: Path, end: bytes, kind: Door) -> None:
    """What stands behind a false end is never run as commands; bare line ends end the connection, with the word."""
    async with open_doors(tmp_path, kind) as stage, await Caller.call(stage.port) as client:
        await client.ready("LHLO x" if kind is Door.LMTP else "EHLO x", *TO_ALICE, "DATA")
        client.send(b"Subject: a\r\n\r\nb" + end + SMUGGLED + b"\r\n.\r\nQUIT\r\n")
        reply = await client.hear()
        if b"\x00" in end:
            # No bare line end, and no end: all of it is text, up to the real end.
            assert reply.startswith("250 2.0.0")
            assert SMUGGLED[:-3] in stage.mails[0][1]
            assert len(stage.mails[0][0].recipients) == 1
            assert (await client.hear())[:3] == "500"
            return
        assert reply.startswith("550 5.5.2")
        assert "smuggling" in reply
        assert await client.ended()
        assert stage.mails == []
        assert stage.spooled() == 0
    assert stage.backstage.asked == ["x@far.test alice@bridge.test"]


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\rOP\r\n", b"\r\r\n", b"NOOP\r\n\n"])
async def test_bare_ends_of_commands(tmp_path: Path, line: bytes) -> None:
    """500 with the word, and the end."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        client.send(line)
        reply = await client.hear()
        if reply.startswith("250"):
            reply = await client.hear()
        assert reply.startswith("500 5.5.2")
        assert "smuggling" in reply
        assert await client.ended()


async def test_text_sent_without_waiting_for_354_is_not_run(tmp_path: Path) -> None:
    """Who sends a mail behind a DATA that is refused would have its text run as commands."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        client.send(b"MAIL FROM:<x@far.test>\r\nRCPT TO:<no@bridge.test>\r\nDATA\r\n" + SMUGGLED)
        assert [(await client.hear())[:3] for _ in range(3)] == ["250", "550", "503"]
        assert await client.ended()
    assert stage.mails == []


async def test_long_lines(tmp_path: Path) -> None:
    """A command line over 2 KiB ends the connection; a mail's line may have 64 KiB and more, up to the cap."""
    async with open_doors(tmp_path, longest_line=65_536) as stage:
        async with await Caller.call(stage.port) as client:
            await client.ready()
            client.send(b"NOOP " + b"x" * 5000)
            assert (await client.hear()).startswith("500 5.5.2")
            assert await client.ended()
        async with await Caller.call(stage.port) as client:
            await client.ready("EHLO x", *TO_ALICE, "DATA")
            client.send(MAIL + b"y" * 65_500 + b"\r\n.\r\n")
            assert (await client.hear()).startswith("250")
            await client.say(*TO_ALICE, "DATA")
            client.send(MAIL + b"y" * 70_000 + b"\r\n.\r\n")
            assert (await client.hear()).startswith("550 5.6.0")
            assert await client.ended()
        assert len(stage.mails) == 1
