"""`matrix-bridge email queue`: the outgoing mails of a bridge that is stopped."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from bridge_core.api.events import Fate
from bridge_core.api.ids import NetworkId
from bridges.email.config.delivery import Delivery
from bridges.email.delivery.rows import QUEUE, State
from bridges.email.tools.command import EmailTool
from tests.bridges.email.mailing import MailHost
from tests.bridges.email.test_delivery import EVE, LATER, NEVER, Depot


class Stopped:
    """A place whose networks keep what hosts in memory hold."""

    def __init__(self, **hosts: MailHost) -> None:
        self.hosts = hosts
        self.networks = {NetworkId(name): SimpleNamespace(delivery=Delivery()) for name in hosts}

    @asynccontextmanager
    async def open(self, network: NetworkId) -> AsyncIterator[Any]:
        yield self.hosts[network]


def call(place: Stopped, *words: str) -> int:
    """The exit code of a call."""
    tool, parser = EmailTool(), argparse.ArgumentParser()
    tool.add_arguments(parser)
    given: Any = place
    return tool.run(parser.parse_args(["queue", *words]), given)


async def depot() -> Depot:
    """A post office in which a mail to Bob waits, and Eve does not exist."""
    found = Depot(hold=0)
    found.postman.answers = {"bob@there.test": [LATER], "eve@there.test": [NEVER]}
    await found.submit("m")
    await found.submit("n", EVE)
    await found.work()
    return found


def test_mails_are_listed_shown_and_moved(capsys: pytest.CaptureFixture[str]) -> None:
    """What the bot does for an admin, the command line does while the bridge is stopped; senders hear of it later."""
    there = asyncio.run(depot())
    place = Stopped(mail=there.host)
    assert call(place, "list") == 0
    (row,) = [row for row in there.rows() if row.state is State.WAITING]
    assert row.id[:12] in capsys.readouterr().out
    assert call(place, "show", row.id[:8]) == 0
    assert "to: bob@there.test" in capsys.readouterr().out
    assert call(place, "retry", "all") == 0
    assert capsys.readouterr().out == "1 will be tried now.\n"
    assert call(place, "drop", row.id) == 0
    assert capsys.readouterr().out == "bob@there.test will not get it.\n"
    assert call(place, "suppressed") == 0
    assert "eve@there.test (from example.org)" in capsys.readouterr().out
    assert call(place, "clear", "eve@there.test", "zoe@there.test") == 0
    assert "zoe@there.test is not on the list" in capsys.readouterr().out

    async def run_again() -> Depot:
        again = there.restarted()
        await again.work()
        return again

    again = asyncio.run(run_again())
    assert again.inbox.fates == [(Fate.FAILED, "bob@there.test", "an admin has taken it out of the queue")]
    assert again.postman.carried == []


def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none, or none at all, changes nothing and is told by the exit code."""
    place = Stopped(one=MailHost(), two=MailHost())
    assert call(place, "show") == 2
    assert call(place, "show", "abcdef", "--network", "one") == 1
    assert "no mail of the queue is named abcdef" in capsys.readouterr().err
    assert call(place, "list", "--network", "three") == 1
    capsys.readouterr()
    assert call(place, "list") == 0
    assert capsys.readouterr().out.startswith("one:\nNothing waits to be sent.\ntwo:\n")


def test_a_retry_leaves_what_is_held(capsys: pytest.CaptureFixture[str]) -> None:
    """Who wrote a mail just now may still change it: `retry` says so and leaves it, by its name as with all."""

    async def holding() -> Depot:
        found = Depot(hold=20)
        await found.submit("m")
        return found

    there = asyncio.run(holding())
    place = Stopped(mail=there.host)
    (row,) = there.rows()
    due = [item.due for item in there.host.queue(QUEUE).items.values()]
    assert call(place, "retry", row.id) == 1
    assert "it is held for 20 s more" in capsys.readouterr().err
    assert call(place, "retry", "all") == 0
    assert capsys.readouterr().out == "0 will be tried now. 1 were not tried yet and keep their hold.\n"
    assert [item.due for item in there.host.queue(QUEUE).items.values()] == due


def test_the_configuration_is_named_before_or_behind() -> None:
    """`-c` is taken behind the subcommand as before it, and one before it is not forgotten."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", "--config", default="config.yaml")
    EmailTool().add_arguments(parser)
    assert str(parser.parse_args(["queue", "list", "-c", "x.yaml"]).config) == "x.yaml"
    assert parser.parse_args(["-c", "x.yaml", "dns"]).config == "x.yaml"
    assert parser.parse_args(["quarantine", "list"]).config == "config.yaml"
