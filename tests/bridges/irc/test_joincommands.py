"""What services are told when a channel is joined: by the bot, and by users' connections."""

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.network import Consent
from bridges.irc.autocommands import read
from tests.bridges.irc.rig import StartRig, eventually

ANNA = UserId("@anna:hs.test")


async def test_the_bot_tells_services_where_it_may_be(rig: StartRig, port: int) -> None:
    """At each joining, of channels that agreed only: where operators were just asked nothing is asked of services."""
    commands = ["PRIVMSG ChanServ :VOICE $CHANNEL", "/mode relay +B"]
    adapter = await rig(port, "#a", bot_join_commands=commands)
    service = await adapter.witness("ChanServ")
    op = await adapter.witness("op", "#b")
    adapter.host._chats = (*adapter.host._chats, ChatId("#b"))
    assert await adapter.connector.consent(ChatId("#b"), ANNA, None) is Consent.ASKED
    await op.wait_text("asks to bridge this channel")
    op.privmsg("#b", "!bridge leave")
    await op.wait_for(lambda line: line.command == "PART" and line.nick == "relay")
    session = adapter.observer._session
    assert session is not None
    session.tell("PART", "#a")
    await service.wait_text("VOICE #a")
    await service.sync()
    assert [line.text for line in service.lines if line.command == "PRIVMSG"] == ["VOICE #a"]


async def test_users_tell_services_at_joining(rig: StartRig, port: int) -> None:
    """A command with $CHANNEL is said at each joining, with the channel's name, and not at the connection."""
    adapter = await rig(port, "#a", "#b")
    service = await adapter.witness("ChanServ")
    book = adapter.connector._state.autocommands
    await book.add(ANNA, "/msg ChanServ VOICE $CHANNEL")
    await book.add(ANNA, "ChanServ HELLO")
    await adapter.puppet(ANNA, "#a", name="anna")
    await adapter.puppet(ANNA, "#b", name="anna")
    await service.wait_text("VOICE #b")
    said = [line.text for line in service.lines if line.command == "PRIVMSG" and line.nick == "anna"]
    assert said == ["HELLO", "VOICE #a", "VOICE #b"]
    await book.clear(ANNA)
    await eventually(lambda: not book.has(ANNA))


def test_only_services_are_spoken_to_at_joining() -> None:
    """What a channel is called does not change to whom something is said."""
    with pytest.raises(RejectedError):
        read("PRIVMSG $CHANNEL :hello", ("ChanServ",))
    assert read("ChanServ OP $CHANNEL", ("ChanServ",)) == ("PRIVMSG", ("ChanServ", "OP $CHANNEL"))
