"""Relayed users under nicks of their own (draft/relaymsg), and as ordinary lines where that is not allowed."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.content import Kind
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId
from bridge_core.api.network import Proof
from bridges.irc.demo.options import CAPABILITIES
from bridges.irc.outlet import Outlet
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, StartServer, eventually

ON = {"relaymsg": True}


async def relayed(rig: StartRig, serve: StartServer, *, op: bool = True, **options: Any) -> "tuple[Any, Rig, Any]":
    """A relay that may, or may not, use RELAYMSG, and somebody who listens."""
    server = await serve(**options)
    adapter = await rig(server.port, messages=ON)
    server.world.channel("#a").members[server.world.find("relay")] = "o" if op else ""
    return server, adapter, await adapter.witness("Bob", "#a", caps=("message-tags", "draft/relaymsg"))


async def test_relayed_users_have_nicks_of_their_own(rig: StartRig, serve: StartServer) -> None:
    """Text, emotes and long texts, each proved by its echo; nobody's nick is another's; nothing comes back."""
    _, adapter, bob = await relayed(rig, serve)
    sent = await adapter.relay("hello")
    assert sent.proof is Proof.ECHOED and len(sent.ids) == 1
    await adapter.relay("waves", kind=Kind.EMOTE)
    await adapter.relay("other", user="@anna:elsewhere.test")
    await adapter.relay("one\ntwo", user="@zoe:hs.test", name="Zoë \u202e!")
    await bob.wait_text("two")
    said = [(line.nick, line.text) for line in bob.messages("#a")]
    assert said[:2] == [("Anna/m", "hello"), ("Anna/m", "\x01ACTION waves\x01")]
    assert said[2][1] == "other" and said[2][0] != "Anna/m" and said[2][0].endswith("/m")
    assert said[3:] == [("Zoe/m", "one"), ("Zoe/m", "two")]
    bob.raw("PRIVMSG #a :done")
    await adapter.inbox.text("done")
    assert adapter.inbox.texts == ["done"]


async def test_a_channel_that_refuses_gets_ordinary_lines(rig: StartRig, serve: StartServer) -> None:
    """The message that was refused is said all the same, in its place, and so are those after it."""
    for labels in (True, False):
        capabilities = CAPABILITIES if labels else CAPABILITIES - {"labeled-response", "echo-message"}
        server, adapter, bob = await relayed(rig, serve, op=False, capabilities=capabilities)
        await adapter.relay("one")
        await adapter.relay("two")
        await bob.wait_text("<A\u200bnna> two")
        assert [line.text for line in bob.messages("#a")] == ["<A\u200bnna> one", "<A\u200bnna> two"]
        assert server.world is not None


async def test_it_is_off_unless_configured_and_offered(rig: StartRig, serve: StartServer) -> None:
    """Ordinary lines without the setting, or where the server has no RELAYMSG; notices always."""
    for offered, config in ((True, {}), (False, ON), (True, ON)):
        server = await serve(capabilities=CAPABILITIES if offered else CAPABILITIES - {"draft/relaymsg"})
        adapter = await rig(server.port, messages=config)
        server.world.channel("#a").members[server.world.find("relay")] = "o"
        bob = await adapter.witness("Bob", "#a")
        await adapter.relay("hello", kind=Kind.NOTICE if offered and config else Kind.TEXT)
        assert (await bob.wait_text("<A\u200bnna> hello")).nick == "relay"


async def test_nothing_is_said_where_the_operators_have_said_no(rig: StartRig, serve: StartServer) -> None:
    """As the server hears it: neither under made-up nicks nor otherwise, nor what waited for its turn when they did."""
    _, adapter, bob = await relayed(rig, serve)
    await adapter.relay("before")
    closed = adapter.observer._state.consents.closed
    closed[ChatId("#a")] = "an operator ended it"
    with pytest.raises(RejectedError, match="an operator ended it"):
        await adapter.relay("after")
    del closed[ChatId("#a")]
    session = adapter.observer._session
    assert session is not None
    outlet = session.outlet = Outlet(1000.0, 1.0, session._write_late)
    outlet._left = -1e9
    waiting = asyncio.create_task(adapter.observer.send(adapter.message("late", relayed=True), FakeAttempt()))
    await eventually(lambda: len(outlet) > 0)
    closed[ChatId("#a")] = "an operator ended it"
    outlet._left = 1.0
    outlet._serve()
    with pytest.raises(RejectedError, match="an operator ended it"):
        await waiting
    await bob.sync()
    assert [line.text for line in bob.messages("#a")] == ["before"]
