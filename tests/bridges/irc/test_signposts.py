"""A channel's own mark that it is not to be bridged: in its topic, or as a key of its metadata."""

from typing import Any

import pytest

from bridge_core.api.events import RemoteConsent
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.network import Consent
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually

ALICE = UserId("@alice:hs.test")
X = ChatId("#x")


def _words(adapter: Rig, chat: ChatId) -> list[bool]:
    return [one.granted for one in adapter.inbox.events if isinstance(one, RemoteConsent) and one.chat == chat]


async def _ask(adapter: Rig) -> Consent:
    adapter.host._chats = (*adapter.host._chats, X)
    return await adapter.connector.consent(X, ALICE, None)


async def _gone(witness: Any, channel: str) -> None:
    await witness.wait_for(lambda line: (line.command, line.nick) == ("PART", "relay") and line.params[0] == channel)


async def test_a_marked_channel_is_not_asked(rig: StartRig, port: int) -> None:
    """Whoever marked it: nobody there is asked, and an operator who wants it bridged takes the mark away first."""
    adapter = await rig(port)
    op = await adapter.witness("op", "#x")
    op.raw("TOPIC #x :About cats [NoBridge]")
    op.raw("MODE #x -t")
    await op.sync()
    assert await _ask(adapter) is Consent.ASKED
    await _gone(op, "#x")
    await adapter.inbox.until(lambda: _words(adapter, X) == [False])
    await eventually(lambda: "refused" in str(adapter.host.kv.values.get("consent/#x")))
    assert not [line for line in op.lines if "asks to bridge" in line.text]
    op.privmsg("relay", "allow #x")
    await op.wait_text("Take that out of it first")
    op.raw("TOPIC #x :About cats")
    await op.sync()
    op.privmsg("relay", "allow #x")
    await op.wait_text("Thank you")
    assert _words(adapter, X) == [False, True]


async def test_an_operators_mark_ends_the_bridging(rig: StartRig, port: int) -> None:
    """While the bridge is there an operator's topic counts as their no, with who it was; anybody else's does not."""
    adapter = await rig(port, "#x")
    op, eve = await adapter.witness("op", "#x"), await adapter.witness("eve", "#x")
    session = adapter.observer._session
    assert session is not None
    session.tell("MODE", "#x", "+o-t", "op")
    await op.wait_for(lambda line: line.command == "MODE" and "op" in line.params)
    eve.raw("TOPIC #x :[nobridge] says eve")
    await eve.sync()
    eve.privmsg("#x", "still bridged")
    await adapter.inbox.text("still bridged")
    op.raw("TOPIC #x :[nobridge] say I")
    await _gone(op, "#x")
    await adapter.inbox.until(lambda: _words(adapter, X) == [False])
    (said,) = [one for one in adapter.inbox.events if isinstance(one, RemoteConsent)]
    assert said.by.name == "op" and "put [nobridge] into the topic" in (said.evidence or "")


@pytest.mark.parametrize("locked", [True, False])
async def test_a_mark_that_was_set_meanwhile_counts_where_only_operators_set_topics(
    rig: StartRig, serve: StartServer, locked: bool
) -> None:
    """Set while the bridge was away: with +t it ends the bridging; where anybody can set topics it does not."""
    server = await serve(channel_modes="nt" if locked else "n")
    there = Rig(int(server.port or 0), ("#x",))
    op = await there.witness("op", "#x")
    op.raw("TOPIC #x :[nobridge]")
    await op.sync()
    try:
        await there.connector.start(there.host, there.inbox)  # type: ignore[arg-type]
        there.observer = there.connector.client(None, there.inbox)  # type: ignore[assignment]
        await there.observer.connect(None)
        if locked:
            await _gone(op, "#x")
            await there.inbox.until(lambda: _words(there, X) == [False])
        else:
            await eventually(lambda: there.connector._state.regimes.get(X) is not None)
            op.privmsg("#x", "still bridged")
            await there.inbox.text("still bridged")
            assert _words(there, X) == []
    finally:
        await there.stop()


async def test_metadata_of_the_channel_says_no(rig: StartRig, serve: StartServer) -> None:
    """Where the server keeps keys of channels, `matrix-bridge` set to `no` ends the bridging; others do nothing."""
    server = await serve()
    adapter = await rig(server.port, "#x")
    op = await adapter.witness("op", "#x", caps=("draft/metadata-2", "batch"))
    session = adapter.observer._session
    assert session is not None
    session.tell("MODE", "#x", "+o", "op")
    await op.wait_for(lambda line: line.command == "MODE" and "op" in line.params)
    op.raw("METADATA #x SET matrix-bridge :yes")
    await op.sync()
    op.privmsg("#x", "still bridged")
    await adapter.inbox.text("still bridged")
    op.raw("METADATA #x SET matrix-bridge :no")
    await _gone(op, "#x")
    await adapter.inbox.until(lambda: _words(adapter, X) == [False])


async def test_marks_can_be_off(rig: StartRig, port: int) -> None:
    """With `topic_mark: null` topics say nothing."""
    adapter = await rig(port, consent={"topic_mark": None})
    op = await adapter.witness("op", "#x")
    op.raw("TOPIC #x :[nobridge]")
    await op.sync()
    assert await _ask(adapter) is Consent.ASKED
    await op.wait_text("asks to bridge this channel")
