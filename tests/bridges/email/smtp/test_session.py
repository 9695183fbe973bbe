"""A conversation with a door, command by command."""

import asyncio
from pathlib import Path

import pytest

from bridges.email.mail import Door
from bridges.email.ports import Reply
from tests.bridges.email.smtp.rig import MAIL, NO_SUCH, TO_ALICE, Caller, open_doors


async def test_a_mail_is_taken(tmp_path: Path) -> None:
    """From greeting to QUIT; the mail gets a Received header on top and is otherwise as it came."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        assert (await client.hear()).startswith("220 mail.bridge.test ESMTP")
        offers = await client.say("EHLO client.test")
        for word in ("SIZE 52428800", "8BITMIME", "SMTPUTF8", "PIPELINING", "CHUNKING", "ENHANCEDSTATUSCODES"):
            assert word in offers
        assert "LIMITS RCPTMAX=1000" in offers
        assert "AUTH" not in offers
        assert "STARTTLS" not in offers
        assert (await client.say(*TO_ALICE)).startswith("250 2.1.5")
        assert (await client.say("DATA")).startswith("354 ")
        client.send(MAIL + b"..dot\r\n.\r\n")
        assert (await client.hear()).startswith("250 2.0.0")
        assert (await client.say("QUIT")).startswith("221 2.0.0")
        assert await client.ended()
    [(envelope, raw)] = stage.mails
    assert (str(envelope.sender), [str(one) for one in envelope.recipients]) == ("x@far.test", ["alice@bridge.test"])
    assert (envelope.door, envelope.peer, envelope.helo) == (Door.SMTP, "127.0.0.1", "client.test")
    assert envelope.size == len(raw)
    assert raw.startswith(b"Received: from client.test ([127.0.0.1])\r\n\tby mail.bridge.test with ESMTP id ")
    assert b"for <alice@bridge.test>; " in raw
    assert raw.endswith(MAIL + b".dot\r\n")


async def test_all_at_once(tmp_path: Path) -> None:
    """Commands sent together are answered in order; a second mail shares nothing with the first."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        client.send(
            b"MAIL FROM:<x@far.test>\r\nRCPT TO:<alice@bridge.test>\r\nRCPT TO:<nobody@bridge.test>\r\nDATA\r\n"
        )
        assert [(await client.hear())[:9] for _ in range(4)] == ["250 2.1.0", "250 2.1.5", "550 5.1.1", "354 go on"]
        client.send(MAIL + b".\r\nMAIL FROM:<>\r\nRCPT TO:<bob@bridge.test>\r\nDATA\r\n")
        assert [(await client.hear())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
        client.send(MAIL + b".\r\n")
        assert (await client.hear())[:3] == "250"
    first, second = (envelope for envelope, _ in stage.mails)
    assert [str(one) for one in first.recipients] == ["alice@bridge.test"]
    assert [str(one) for one in second.recipients] == ["bob@bridge.test"]
    assert second.sender is None
    assert first.id != second.id


async def test_rset_forgets_the_mail(tmp_path: Path) -> None:
    """After RSET, or another EHLO, there is neither sender nor recipient."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        for forget in ("RSET", "EHLO again.test"):
            await client.say(*TO_ALICE)
            await client.say(forget)
            assert (await client.say("RCPT TO:<bob@bridge.test>")).startswith("503 5.5.1")
            assert (await client.say("DATA")).startswith("503 5.5.1")
            await client.say("MAIL FROM:<y@far.test>")
            assert (await client.say("DATA")).startswith("503 5.5.1")
            await client.say("RSET")
    assert stage.mails == []


@pytest.mark.parametrize("recipient", ["postmaster", "Postmaster", "postmaster@bridge.test"])
async def test_postmaster_and_the_null_sender_are_always_let_in(tmp_path: Path, recipient: str) -> None:
    """Also where the inspector refuses everybody (RFC 5321 section 4.5.1)."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        stage.backstage.refusals["recipient"] = Reply(450, "4.7.1", "grey")
        await client.ready()
        assert (await client.say("MAIL FROM:<>", f"RCPT TO:<{recipient}>")).startswith("250")
        assert (await client.say("RCPT TO:<alice@bridge.test>")).startswith("450 4.7.1")


@pytest.mark.parametrize(
    ("step", "lines", "code"),
    [
        ("sender", ["MAIL FROM:<x@far.test>"], "451 4.7.1"),
        ("recipient", [*TO_ALICE], "451 4.7.1"),
        ("mail", [*TO_ALICE, "DATA"], "451 4.7.1"),
    ],
)
async def test_the_inspector_refuses(tmp_path: Path, step: str, lines: list[str], code: str) -> None:
    """At each step; nothing is kept, and the connection goes on."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        stage.backstage.refusals[step] = Reply(451, "4.7.1", "not now")
        reply = await client.say(*lines)
        if step == "mail":
            client.send(MAIL + b".\r\n")
            reply = await client.hear()
        assert reply.startswith(code)
        assert (await client.say("NOOP")).startswith("250")
        assert stage.spooled() == 0
    assert stage.mails == []


async def test_nobody_is_let_in_at_the_greeting(tmp_path: Path) -> None:
    """What the inspector says of a peer is said instead of the greeting."""
    async with open_doors(tmp_path) as stage:
        stage.backstage.refusals["connected"] = Reply(554, "5.7.1", "listed")
        async with await Caller.call(stage.port) as client:
            assert await client.hear() == "554 5.7.1 listed"
            assert await client.ended()


async def test_a_check_that_breaks_lets_nothing_in(tmp_path: Path) -> None:
    """A bug or an outage behind the doors is a temporary error (fail closed)."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        stage.backstage.broken = KeyError("bug")
        assert (await client.say(*TO_ALICE)).startswith("451 4.3.0")
        stage.backstage.broken = None
        assert (await client.say("DATA")).startswith("503")


@pytest.mark.parametrize("recipient", ["x@elsewhere.test", "x%far.test@elsewhere.test", "@bridge.test:x@far.test"])
async def test_no_relaying(tmp_path: Path, recipient: str) -> None:
    """An address elsewhere is refused without a login, in every spelling."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        assert (await client.say("MAIL FROM:<alice@bridge.test>", f"RCPT TO:<{recipient}>"))[0] == "5"
        assert (await client.say("DATA")).startswith("503")


async def test_unknown_mailboxes_are_told_at_once(tmp_path: Path) -> None:
    """RCPT is where they are refused, each by itself."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        assert await client.say("MAIL FROM:<x@far.test>", "RCPT TO:<no@bridge.test>") == f"550 5.1.1 {NO_SUCH.text}"
        assert (await client.say("RCPT TO:<bob@bridge.test>")).startswith("250")


async def test_sizes_are_bounded(tmp_path: Path) -> None:
    """Declared: refused at MAIL. Not declared: read to its end, refused, nothing kept, and the connection goes on."""
    async with open_doors(tmp_path, largest=100_000) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        assert (await client.say("MAIL FROM:<x@far.test> SIZE=100001")).startswith("552 5.3.4")
        await client.say(*TO_ALICE, "DATA")
        client.send(MAIL + b"x" * 70 * 1000 + b"\r\n" + b"y" * 70 * 1000 + b"\r\n.\r\n")
        assert (await client.hear()).startswith("552 5.3.4")
        assert (await client.say(*TO_ALICE)).startswith("250")
        assert stage.spooled() == 0
        await client.say("DATA")
        client.send((b"z" * 998 + b"\r\n") * 500 + b".\r\n")
        assert (await client.hear()).startswith("552 5.3.4")
        assert await client.ended()
    assert stage.mails == []


async def test_a_full_spool_says_come_back(tmp_path: Path) -> None:
    """452 4.3.1 before anything is transferred."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        stage.backstage.full = True
        assert (await client.say("MAIL FROM:<x@far.test>")).startswith("452 4.3.1")


async def test_bytes_in_flight_are_bounded(tmp_path: Path) -> None:
    """While one mail takes all the room, another is refused for now; then there is room again."""
    async with (
        open_doors(tmp_path, in_flight=100_000) as stage,
        await Caller.call(stage.port) as one,
        await Caller.call(stage.port) as two,
    ):
        await one.ready("EHLO one.test", *TO_ALICE, "DATA")
        await two.ready()
        one.send(b"x" * 998 + b"\r\n" + (b"x" * 998 + b"\r\n") * 89)
        await two.say("MAIL FROM:<x@far.test>", "RCPT TO:<bob@bridge.test>", "DATA")
        two.send((b"y" * 998 + b"\r\n") * 40 + b".\r\n")
        assert (await two.hear()).startswith("452 4.3.1")
        one.send(b".\r\n")
        assert (await one.hear()).startswith("250")
        await two.say("MAIL FROM:<x@far.test>", "RCPT TO:<bob@bridge.test>", "DATA")
        two.send((b"y" * 998 + b"\r\n") * 40 + b".\r\n")
        assert (await two.hear()).startswith("250")


async def test_recipients_are_bounded(tmp_path: Path) -> None:
    """One more than allowed gets 452 4.5.3, by number and by bytes; those before are kept."""
    async with open_doors(tmp_path, recipients=100) as stage, await Caller.call(stage.port) as client:
        stage.backstage.known |= {f"u{number}@bridge.test" for number in range(101)}
        await client.ready("EHLO x.test", "MAIL FROM:<x@far.test>")
        for number in range(100):
            assert (await client.say(f"RCPT TO:<u{number}@bridge.test>")).startswith("250")
        assert (await client.say("RCPT TO:<u100@bridge.test>")).startswith("452 4.5.3")
        assert (await client.say("RCPT TO:<u1@bridge.test>")).startswith("250")
        await client.say("DATA")
        client.send(MAIL + b".\r\n")
        assert (await client.hear()).startswith("250")
    assert len(stage.mails[0][0].recipients) == 100


async def test_errors_and_commands_are_bounded(tmp_path: Path) -> None:
    """Who only makes mistakes, or only talks, is sent away with 421."""
    async with open_doors(tmp_path, errors=3, commands=100) as stage:
        async with await Caller.call(stage.port) as client:
            await client.hear()
            assert (await client.say("NONSENSE")).startswith("500 5.5.1")
            assert (await client.say("\x01")).startswith("500 5.5.2")
            assert (await client.say("EHLO")).startswith("501 5.5.4")
            assert (await client.hear()).startswith("421 4.7.0")
            assert await client.ended()
        async with await Caller.call(stage.port) as client:
            await client.ready()
            assert (await client.say(*(["NOOP"] * 99)))[:3] == "250"
            assert (await client.say("NOOP")).startswith("421 4.7.0")


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """In all, and from one address where it is not exempt; who leaves makes room."""
    connections = {"most": 3, "address": 2, "exempt": []}
    async with (
        open_doors(tmp_path, connections=connections) as stage,
        await Caller.call(stage.port) as one,
        await Caller.call(stage.port) as two,
    ):
        await one.ready()
        await two.ready()
        async with await Caller.call(stage.port) as three:
            assert (await three.hear()).startswith("421 4.7.0")
            assert await three.ended()
        await one.say("QUIT")
        one.writer.close()
        while stage.doors.connected > 1:
            await asyncio.sleep(0)
        async with await Caller.call(stage.port) as four:
            assert (await four.hear()).startswith("220")


async def test_a_browser_is_hung_up_on(tmp_path: Path) -> None:
    """A web page cannot make a browser send mail."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.hear()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<x@far.test>\r\n")
        assert (await client.hear()).startswith("554 5.5.1")
        assert await client.ended()


async def test_utf8_addresses_need_smtputf8(tmp_path: Path) -> None:
    """Refused without it, carried with it, and written so into the trace."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        assert (await client.say("MAIL FROM:<jörg@far.test>")).startswith("553 5.6.7")
        assert (await client.say("MAIL FROM:<jörg@far.test> SMTPUTF8 BODY=8BITMIME")).startswith("250")
        assert (await client.say("RCPT TO:<jörg@bridge.test>", "DATA")).startswith("354")
        client.send("Subject: ü\r\n\r\nß\r\n.\r\n".encode())
        assert (await client.hear()).startswith("250")
    [(envelope, raw)] = stage.mails
    assert envelope.utf8
    assert b"with UTF8SMTP id" in raw
    assert "ß".encode() in raw


@pytest.mark.parametrize("word", ["VRFY alice@bridge.test", "VRFY nobody@bridge.test"])
async def test_nobody_learns_who_is_there(tmp_path: Path, word: str) -> None:
    """VRFY says the same of everybody, EXPN nothing."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        assert (await client.say(word)).startswith("252 2.1.5 send it")
        assert (await client.say("EXPN list")).startswith("502 5.5.1")


async def test_a_loop_is_ended(tmp_path: Path) -> None:
    """A mail that has passed too many servers is refused for good."""
    async with open_doors(tmp_path, hops=20) as stage, await Caller.call(stage.port) as client:
        await client.ready("EHLO x.test", *TO_ALICE, "DATA")
        client.send(b"Received: from a by b\r\n" * 21 + MAIL + b".\r\n")
        assert (await client.hear()).startswith("554 5.4.6")
    assert stage.mails == []


async def test_silence_ends_a_connection(tmp_path: Path) -> None:
    """With 421, between commands and within a mail, of which nothing is kept."""
    async with open_doors(tmp_path, times={"command": 1, "data": 1}) as stage:
        async with await Caller.call(stage.port) as client:
            await client.hear()
            assert (await client.hear()).startswith("421 4.4.2")
            assert await client.ended()
        async with await Caller.call(stage.port) as client:
            await client.ready("EHLO x.test", *TO_ALICE, "DATA")
            client.send(b"half a ma")
            assert (await client.hear()).startswith("421 4.4.2")
            assert await client.ended()
        assert stage.spooled() == 0


async def test_a_trickling_mail_is_ended(tmp_path: Path) -> None:
    """Byte by byte is no way round the time that a mail has."""
    async with open_doors(tmp_path, times={"mail": 1}) as stage, await Caller.call(stage.port) as client:
        await client.ready("EHLO x.test", *TO_ALICE, "DATA")

        async def trickle() -> None:
            while True:
                client.send(b"x")
                await asyncio.sleep(0.05)

        task = asyncio.create_task(trickle())
        assert (await client.hear()).startswith("421 4.4.2")
        task.cancel()
        assert stage.spooled() == 0


async def test_the_stop_is_told(tmp_path: Path) -> None:
    """Who is idle hears 421; a mail under way is finished and answered."""
    async with (
        open_doors(tmp_path) as stage,
        await Caller.call(stage.port) as idle,
        await Caller.call(stage.port) as busy,
    ):
        await idle.ready()
        await busy.ready("EHLO x.test", *TO_ALICE, "DATA")
        busy.send(MAIL)
        stopping = asyncio.create_task(stage.doors.stop(30))
        assert (await idle.hear()).startswith("421 4.3.2")
        busy.send(b".\r\n")
        assert (await busy.hear()).startswith("250")
        assert (await busy.hear()).startswith("421 4.3.2")
        idle.writer.close()
        busy.writer.close()
        await stopping
    assert len(stage.mails) == 1


async def test_who_lingers_does_not_hinder_the_stop(tmp_path: Path) -> None:
    """A client that was told goodbye and does not hang up hears nothing more."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        assert (await client.say("QUIT")).startswith("221")
        await stage.doors.stop(0)
        assert await client.ended()


async def test_a_full_disk_refuses_for_now(tmp_path: Path) -> None:
    """What cannot be spooled gets 452 at its end, by DATA and by BDAT, and the connection goes on."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready()
        stage.backstage.blobs._total = 100_000
        text = MAIL + (b"x" * 998 + b"\r\n") * 200
        await client.say(*TO_ALICE, "DATA")
        client.send(text + b".\r\n")
        assert (await client.hear()).startswith("452 4.3.1")
        await client.say(*TO_ALICE)
        client.send(b"BDAT %d LAST\r\n" % len(text) + text)
        assert (await client.hear()).startswith("452 4.3.1")
        assert stage.spooled() == 0
        stage.backstage.blobs._total = 1_000_000
        await client.say(*TO_ALICE, "DATA")
        client.send(text + b".\r\n")
        assert (await client.hear()).startswith("250")


async def test_who_does_not_read_is_left_waiting(tmp_path: Path) -> None:
    """Thousands of commands whose answers nobody takes: all are answered, once they are read."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.hear()
        client.send(b"EHLO client.test\r\n" * 4000)
        answers = [await client.hear() for _ in range(4000)]
        assert {answer[:4] for answer in answers} == {"250-"}
