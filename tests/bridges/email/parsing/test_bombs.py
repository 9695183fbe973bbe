"""Mails that are made to cost much cost little: counted in processor time, by the kernel."""

import time
from collections.abc import AsyncIterator

import pytest

from bridges.email.config.parsing import Parsing
from bridges.email.parsing.pool import Parser, UnreadableMailError
from tests.bridges.email.parsing import bombs
from tests.bridges.email.parsing.mails import opener, parsed


@pytest.fixture(scope="module")
def small() -> Parsing:
    # Three times what mails may cost unless said otherwise: on a machine that others load the same work counts double.
    return Parsing(workers=1, cpu_seconds=6, mails_per_worker=100_000)


@pytest.fixture
async def parser(small: Parsing) -> AsyncIterator[Parser]:
    one = Parser(small)
    yield one
    await one.stop()


async def test_no_bomb_costs_a_worker_six_seconds_or_the_loop_anything(parser: Parser) -> None:
    """Each is read by a process that the kernel would end after six seconds, and the loop only waits."""
    unread = []
    for name, data in bombs.LARGE.items():
        used = time.thread_time()
        try:
            async with parser.parse(opener(data, 1 << 20), parser.context(0)) as read:
                assert read.mail.text or read.mail.files or read.mail.report, name
        except UnreadableMailError as error:
            unread.append(f"{name}: {error}")
        # Handing over and taking back 25 MiB is what is left to it.
        assert time.thread_time() - used < 0.5, name
    assert not unread
    assert parser.unreadable == 0


@pytest.mark.parametrize("name", bombs.SMALL)
def test_no_small_mail_costs_a_second(name: str) -> None:
    """A mail of 10 kB at most costs less than a second of processor time."""
    data = bombs.SMALL[name]
    assert len(data) <= 10_100
    used = time.process_time()
    parsed(data)
    assert time.process_time() - used < 1
