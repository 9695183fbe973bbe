"""The moment at which a mail becomes ours: committed, then acknowledged, whatever the client or the server does."""

import asyncio
from pathlib import Path

import pytest

from bridge_core.api.errors import BackpressureError, TransientError
from tests.bridges.email.smtp.rig import MAIL, TO_ALICE, WAIT, Caller, Stage, open_doors


class Held:
    """A commit that waits until it is let go."""

    def __init__(self, stage: Stage) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        stage.backstage.accepting = self

    async def __call__(self) -> None:
        self.begun.set()
        await self.go.wait()

    async def under_way(self) -> None:
        async with asyncio.timeout(WAIT):
            await self.begun.wait()


async def _until(stage: Stage, count: int) -> None:
    async with asyncio.timeout(WAIT):
        while len(stage.mails) < count:
            await asyncio.sleep(0.01)


async def test_no_answer_before_the_commit(tmp_path: Path) -> None:
    """250 is said of what is stored, never sooner."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        held = Held(stage)
        await client.ready("EHLO x", *TO_ALICE, "DATA")
        client.send(MAIL + b".\r\n")
        await held.under_way()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.reader.readline()
        held.go.set()
        assert (await client.hear()).startswith("250")


async def test_a_half_closed_connection_gets_its_answer(tmp_path: Path) -> None:
    """The end of the client's stream cancels nothing."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        held = Held(stage)
        await client.ready("EHLO x", *TO_ALICE, "DATA")
        client.send(MAIL + b".\r\n")
        client.writer.write_eof()
        await held.under_way()
        held.go.set()
        assert (await client.hear()).startswith("250")
        assert await client.ended()
    assert len(stage.mails) == 1


async def test_a_lost_connection_does_not_undo_a_commit(tmp_path: Path) -> None:
    """What has begun is finished; the client will give it again, which the intake knows."""
    async with open_doors(tmp_path) as stage:
        held = Held(stage)
        async with await Caller.call(stage.port) as client:
            await client.ready("EHLO x", *TO_ALICE, "DATA")
            client.send(MAIL + b".\r\n")
            await held.under_way()
            client.writer.transport.abort()
        held.go.set()
        await _until(stage, 1)
        assert stage.backstage.confirmations == []


async def test_who_left_before_the_end_leaves_nothing(tmp_path: Path) -> None:
    """Half a mail is no mail, by DATA and by BDAT."""
    async with open_doors(tmp_path) as stage:
        for begin in (b"DATA\r\n", b"BDAT 4000 LAST\r\n"):
            async with await Caller.call(stage.port) as client:
                await client.ready("EHLO x", *TO_ALICE)
                client.send(begin)
                if begin.startswith(b"DATA"):
                    await client.hear()
                client.send(MAIL)
                client.writer.write_eof()
                assert await client.ended()
        assert stage.mails == []
        assert stage.spooled() == 0


async def test_the_stop_waits_for_commits(tmp_path: Path) -> None:
    """Also where the time for sessions is over: the mail is stored, its client hears 421 and gives it again."""
    async with open_doors(tmp_path) as stage:
        held = Held(stage)
        async with await Caller.call(stage.port) as client:
            await client.ready("EHLO x", *TO_ALICE, "DATA")
            client.send(MAIL + b".\r\n")
            await held.under_way()
            stopping = asyncio.create_task(stage.doors.stop(0))
            assert (await client.hear()).startswith("421 4.3.2")
            assert not stopping.done()
            held.go.set()
            await stopping
        assert len(stage.mails) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(BackpressureError("full"), "452 4.3.1"), (TransientError("away"), "451 4.3.0"), (KeyError("bug"), "451 4.3.0")],
)
async def test_what_cannot_be_stored_is_not_acknowledged(tmp_path: Path, error: Exception, code: str) -> None:
    """A temporary error, and the connection goes on."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:

        async def fail() -> None:
            raise error

        stage.backstage.accepting = fail
        await client.ready("EHLO x", *TO_ALICE, "DATA")
        client.send(MAIL + b".\r\n")
        assert (await client.hear()).startswith(code)
        assert (await client.say("NOOP")).startswith("250")
        assert stage.backstage.confirmations == []


async def test_whoever_goes_on_has_heard_the_250(tmp_path: Path) -> None:
    """The next command tells that the answer has arrived."""
    async with open_doors(tmp_path) as stage, await Caller.call(stage.port) as client:
        await client.ready("EHLO x", *TO_ALICE, "DATA")
        client.send(MAIL + b".\r\n")
        await client.hear()
        assert stage.backstage.confirmations == []
        await client.say("NOOP")
        assert stage.backstage.confirmations == [stage.mails[0][0].id]
