"""Text of more lines than a channel puts up with: its beginning, and a link to the whole where that is configured."""

from dataclasses import replace

import pytest

from bridge_core.api.content import Kind
from bridge_core.api.ids import EventId, MessageId
from bridge_core.api.matrix import MatrixEdit, MessageRef
from bridges.irc.demo.options import CAPABILITIES, DRAFTS
from tests.bridges.irc.rig import FakeAttempt, StartRig, StartServer, confirmed

REF = MessageRef(MessageId("m1"), EventId("$1"))
LINES = "\n".join(f"line {number}" for number in range(10))


@pytest.mark.parametrize("drafts", [True, False])
async def test_the_rest_is_behind_a_link(rig: StartRig, serve: StartServer, drafts: bool) -> None:
    """The first lines and a link to all of them, over the relay and in emotes, too; what fits has no link."""
    server = await serve(capabilities=CAPABILITIES if drafts else CAPABILITIES - DRAFTS)
    adapter = await rig(server.port, max_lines=3, messages={"long_text": "link"})
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    await adapter.say(anna, LINES)
    await bob.wait_text("… (8 more lines) <https://media.test/text/1>")
    assert [line.text for line in bob.messages("#a")][:2] == ["line 0", "line 1"]
    assert adapter.host.texts["$1"] == LINES
    await adapter.relay(LINES)
    await bob.wait_text("<A\u200bnna> … (8 more lines) <https://media.test/text/2>")
    await adapter.say(anna, LINES, kind=Kind.EMOTE)
    await bob.wait_text("\x01ACTION … (8 more lines) <https://media.test/text/3>\x01")
    await adapter.say(anna, "one\ntwo\nthree")
    await bob.wait_text("three")
    assert list(adapter.host.texts) == ["$1", "$2", "$3"]


async def test_a_room_may_want_fewer_lines(rig: StartRig, port: int) -> None:
    """A message has no more lines than its room wants, and no more than the network's limit."""
    adapter = await rig(port, max_lines=4)
    bob = await adapter.witness("Bob", "#a")
    for wanted, last in ((2, "… (9 more lines)"), (100, "… (7 more lines)")):
        message = replace(adapter.message(LINES, relayed=True), max_lines=wanted)
        await confirmed(await adapter.observer.send(message, FakeAttempt()))
        await bob.wait_text(last)
    where = (message.room, message.event_id, message.chat, message.sender)
    edit = MatrixEdit(*where, REF, message.content, 1, relayed=True, max_lines=2)
    await confirmed(await adapter.observer.edit(edit, FakeAttempt()))
    await bob.sync()
    assert len(bob.messages("#a")) == 2 + 4 + 2


async def test_without_links_the_number_of_lines_is_said(rig: StartRig, serve: StartServer) -> None:
    """Where media links are off, and where links are not configured, nothing is put anywhere."""
    server = await serve(capabilities=CAPABILITIES - DRAFTS)
    for how, links in (("link", False), ("split", True)):
        adapter = await rig(server.port, nick=f"r{how}", max_lines=3, messages={"long_text": how})
        adapter.host.links = links
        bob = await adapter.witness(f"B{how}", "#a")
        await adapter.relay(LINES)
        await bob.wait_text("<A\u200bnna> … (8 more lines)")
        assert links is False or adapter.host.texts == {}
