"""The bot says who runs it, and that it is a bot."""

import pytest

from bridges.irc.codec.isupport import from_tokens
from bridges.irc.config import IrcConfig
from bridges.irc.courtesy import Courtesy
from bridges.irc.introduction import advice, bot_mark, introduction
from tests.bridges.irc.rig import StartRig, StartServer


def _config(**settings: object) -> IrcConfig:
    return IrcConfig.model_validate({"server": "irc.test", **settings})


def test_the_contact_is_in_the_real_name_and_in_answers() -> None:
    """Once, wherever somebody looks; the request for a source is answered too, and few requests are."""
    assert introduction(_config(contact="a@b.test")) == "Matrix bridge (a@b.test)"
    assert introduction(_config(contact="a@b.test", realname="Run by a@b.test")) == "Run by a@b.test"
    assert introduction(_config()) == "Matrix bridge"
    courtesy = Courtesy(lambda: 0.0, "a@b.test")
    assert "run by a@b.test" in str(courtesy.ctcp("\x01VERSION\x01"))
    assert "SOURCE" in str(courtesy.ctcp("\x01CLIENTINFO\x01"))
    answers = [courtesy.ctcp("\x01SOURCE\x01") for _ in range(10)]
    assert answers.count(None) == 7


@pytest.mark.parametrize(("token", "mark"), [("B", "B"), ("", ""), ("BB", ""), ("+", ""), ("\u00df", "")])
def test_the_mark_of_bots_is_one_letter(token: str, mark: str) -> None:
    """What else a server says marks nobody."""
    assert bot_mark(from_tokens({"BOT": token})) == mark
    assert bot_mark(from_tokens({})) == ""


async def test_the_relay_marks_itself(rig: StartRig, serve: StartServer) -> None:
    """On a network with bot mode the relay is a bot to everybody who asks, under its introduction."""
    server = await serve()
    adapter = await rig(server.port, contact="a@b.test")
    bob = await adapter.witness("bob")
    bob.raw("WHOIS relay")
    name = await bob.wait_for(lambda line: line.command == "311")
    assert name.params[-1] == "Matrix bridge (a@b.test)"


def test_what_networks_expect_is_advised() -> None:
    """A contact and an account; with both nothing is left to say."""
    assert len(list(advice(_config()))) == 2
    login = {"user": "bot", "password": "secret"}
    assert list(advice(_config(contact="a@b.test", sasl=login))) == []
