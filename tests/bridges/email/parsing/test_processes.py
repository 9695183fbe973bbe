"""Mails are read in processes of their own, and those are ended when they go wrong."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.errors import TransientError
from bridges.email.config.parsing import Parsing
from bridges.email.parsing import process, worker
from bridges.email.parsing.pool import Parser, UnreadableMailError
from tests.bridges.email.parsing.mails import mail, multimail, opener, part

FILES = multimail(
    "mixed",
    part("Two files."),
    part(b"x" * 3_000_000, "application/octet-stream", "Content-Disposition: attachment; filename=a.bin"),
    part("YWJj", "application/pdf", "Content-Disposition: attachment; filename=b", "Content-Transfer-Encoding: base64"),
)


@pytest.fixture
async def parser() -> AsyncIterator[Parser]:
    one = Parser(Parsing(workers=1))
    yield one
    await one.stop()


def _pids(parser: Parser) -> list[int]:
    return [one.pid for one in (*parser._idle, *parser._busy)]


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def _bytes(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def test_a_mail_and_its_files_come_out_of_the_process(parser: Parser) -> None:
    """Text and bytes are what was sent; files are read in any order; one process reads mail after mail."""
    async with parser.parse(opener(FILES), parser.context()) as parsed:
        assert [file.name for file in parsed.mail.files] == ["a.bin", "b"]
        assert await _bytes(parsed.file(1)) == b"abc"
        assert await _bytes(parsed.file(0)) == b"x" * 3_000_000
        assert await _bytes(parsed.file(1)) == b"abc"
    first = _pids(parser)
    async with parser.parse(opener(mail("Second.")), parser.context()) as parsed:
        assert parsed.mail.files == ()
    assert _pids(parser) == first
    assert len(first) == 1


async def test_what_is_known_of_a_mail_goes_along(parser: Parser) -> None:
    """The time of arrival bounds its date, the null reverse-path makes it automatic, limits are those configured."""
    data = mail("x", "Date: Fri, 1 Jan 2100 00:00:00 +0000\n")
    async with parser.parse(opener(data), parser.context(1000, null_sender=True)) as parsed:
        assert (parsed.mail.date, parsed.mail.automatic) == (1000, True)


async def test_a_process_that_ends_is_replaced_once(parser: Parser) -> None:
    """A process that is killed costs a mail nothing: another one reads it."""
    async with parser.parse(opener(mail()), parser.context()):
        pass
    (pid,) = _pids(parser)
    chunks = 0

    async def killing() -> AsyncIterator[bytes]:
        nonlocal chunks
        chunks += 1
        if chunks == 1:
            os.kill(pid, signal.SIGKILL)
        yield mail("Read after all.")

    async with parser.parse(killing, parser.context()) as parsed:
        assert parsed.mail.id == "1@example.org"
    assert chunks == 2
    assert parser.unreadable == 0
    assert pid not in _pids(parser)


async def test_a_mail_that_ends_two_processes_is_unreadable(parser: Parser) -> None:
    """After two processes the mail is given up with a reason, and the next mail is read."""
    pids: set[int] = set()

    async def killing() -> AsyncIterator[bytes]:
        (pid,) = _pids(parser)
        pids.add(pid)
        os.kill(pid, signal.SIGKILL)
        yield mail()

    with pytest.raises(UnreadableMailError, match="signal 9"):
        async with parser.parse(killing, parser.context()):
            raise AssertionError("it was read")
    assert len(pids) == 2
    assert parser.unreadable == 1
    async with parser.parse(opener(mail()), parser.context()) as parsed:
        assert parsed.mail.subject == "A subject"


async def test_too_much_memory_ends_the_process_only() -> None:
    """A mail that needs more memory than is allowed is unreadable; the reason says so."""
    parser = Parser(Parsing(workers=1, memory_mib=256, largest_mib=200))
    try:
        data = mail(b"A" * 100_000_000, "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n")
        with pytest.raises(UnreadableMailError, match="256 MiB of memory"):
            async with parser.parse(opener(data, 1 << 20), parser.context()):
                raise AssertionError("it was read")
    finally:
        await parser.stop()


async def test_a_mail_that_needs_too_long_is_unreadable() -> None:
    """The kernel ends a process that takes more time than a mail may cost, and the reason says so."""
    parser = Parser(
        Parsing(workers=1, cpu_seconds=1, html_parts=100_000, html_characters=4_194_304, text_characters=1_000_000)
    )
    # More than any bomb that is known: thousands of texts at limits that nobody should set.
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(
        b"--b\r\nContent-Type: text/html\r\n\r\n" + b"<div style='border-top:solid'>a" * 1200 + b"\r\n"
        for _ in range(60)
    )
    try:
        with pytest.raises(UnreadableMailError, match="more than 1 seconds of processor time"):
            async with parser.parse(opener(data, 1 << 20), parser.context()):
                raise AssertionError("it was read")
    finally:
        await parser.stop()


async def test_a_mail_over_the_limit_is_not_tried_twice(parser: Parser) -> None:
    """What is larger than any process reads is unreadable at once."""
    opened = 0

    async def large() -> AsyncIterator[bytes]:
        nonlocal opened
        opened += 1
        for _ in range(65):
            yield b"x" * (1 << 20)

    with pytest.raises(UnreadableMailError, match="larger than 64 MiB"):
        async with parser.parse(large, parser.context()):
            raise AssertionError("it was read")
    assert opened == 1


async def test_trouble_with_the_bytes_is_no_trouble_of_the_mail(parser: Parser) -> None:
    """What the spool raises comes out as it is: the mail stays, and the process that heard half of it is gone."""

    async def broken() -> AsyncIterator[bytes]:
        yield mail()
        raise TransientError("the disk is away")

    with pytest.raises(TransientError, match="the disk is away"):
        async with parser.parse(broken, parser.context()):
            raise AssertionError("it was read")
    assert parser.unreadable == 0
    assert _pids(parser) == []


async def test_a_file_left_half_read_spoils_no_other_mail(parser: Parser) -> None:
    """Who stops reading a file in the middle gets the next mail from a clean process."""
    async with parser.parse(opener(FILES), parser.context()) as parsed:
        async for _ in parsed.file(0):
            break
    async with parser.parse(opener(mail("Next.")), parser.context()) as parsed:
        assert parsed.mail.files == ()


async def test_processes_are_replaced_after_their_share() -> None:
    """A process reads so many mails, then another takes its place; its predecessor is gone."""
    parser = Parser(Parsing(workers=1, mails_per_worker=2))
    try:
        seen = []
        for _ in range(3):
            async with parser.parse(opener(mail()), parser.context()):
                seen += _pids(parser)
        assert seen[0] == seen[1] != seen[2]
        assert _gone(seen[0])
    finally:
        await parser.stop()


async def test_no_more_processes_than_configured() -> None:
    """More mails than processes wait for their turn, and all are read."""
    parser = Parser(Parsing(workers=2))
    most = 0

    async def one(number: int) -> str:
        nonlocal most
        async with parser.parse(opener(mail(f"Mail {number}.")), parser.context()) as parsed:
            most = max(most, len(_pids(parser)))
            return str(parsed.mail.text)

    try:
        texts = await asyncio.gather(*(one(number) for number in range(8)))
        assert all(f"Mail {number}." in text for number, text in enumerate(texts))
        assert most <= 2
    finally:
        await parser.stop()


async def test_stopping_ends_all_processes(parser: Parser) -> None:
    """Nothing is left behind, and who is waiting is told to come again later."""
    async with parser.parse(opener(mail()), parser.context()):
        pids = _pids(parser)
        await parser.stop()
    assert all(_gone(pid) for pid in pids)
    with pytest.raises(TransientError, match="stops"):
        async with parser.parse(opener(mail()), parser.context()):
            raise AssertionError("it was read")


async def test_cancelling_ends_the_process_that_was_at_it(parser: Parser) -> None:
    """Nobody waits for a mail any more: its process is not kept in an unknown state."""
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"From: a@example.org\r\n"
        reached.set()
        await asyncio.Event().wait()

    async def reading() -> None:
        async with parser.parse(endless, parser.context()):
            raise AssertionError("it was read")

    task = asyncio.get_running_loop().create_task(reading())
    await reached.wait()
    (pid,) = _pids(parser)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _gone(pid)
    assert _pids(parser) == []


async def test_the_process_knows_no_secrets(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the bridge, which may hold tokens, is not handed on; its files cannot be written."""
    monkeypatch.setenv("MATRIX_BRIDGE_SECRET", "s3cret")
    async with parser.parse(opener(mail()), parser.context()):
        (pid,) = _pids(parser)
        about = Path("/proc") / str(pid)
        assert b"s3cret" not in (about / "environ").read_bytes()
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (about / "limits").read_text().splitlines()}
        assert limits["Max file size"] == ["0", "0"]
        assert limits["Max address space"] == [str(768 << 20)] * 2
        assert limits["Max core file size"] == ["0", "0"]
        assert int(limits["Max cpu time"][0]) <= 10


def test_the_status_for_memory_is_one() -> None:
    """The process and who watches it mean the same number."""
    assert process.MEMORY == worker.OUT_OF_MEMORY


def test_processes_start_small() -> None:
    """A process loads neither the loop, nor the settings, nor the log: it starts fast, and has less to go wrong."""
    heavy = "{'asyncio', 'pydantic', 'structlog', 'ssl'}"
    code = f"import sys, bridges.email.parsing.worker as w; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == []
