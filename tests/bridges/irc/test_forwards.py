"""Channels that forward to others: nobody is bridged who has not agreed to it."""

from typing import Any

from bridge_core.api.events import RemoteChatMoved
from bridge_core.api.ids import ChatId
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually


def of(adapter: Rig, kind: type) -> list[Any]:
    """The events of a class that were received, in order."""
    return [event for event in adapter.inbox.events if isinstance(event, kind)]


async def test_a_forward_asks_the_operators_there(serve: StartServer) -> None:
    """Where operators are to be asked, nothing moves and nothing of the new channel is seen before one agrees."""
    server = await serve()
    op = await Witness.connect("127.0.0.1", int(server.port or 0), "op")
    await op.join("#a")
    await op.join("#over")
    op.raw("MODE #a +if #over")
    await op.sync()
    adapter = Rig(int(server.port or 0), channels={"forwards": "follow"})
    adapter.witnesses.append(op)
    try:
        await adapter.connector.start(adapter.host, adapter.inbox)  # type: ignore[arg-type]
        adapter.observer = adapter.connector.client(None, adapter.inbox)  # type: ignore[assignment]
        await adapter.observer.connect(None)
        question = await op.wait_text("asks to bridge this channel")
        assert question.params[0] == "#over" and "#a, which forwards here" in question.text
        op.privmsg("#over", "nobody asked")
        op.privmsg("#over", "!bridge allow")
        await adapter.inbox.until(lambda: bool(of(adapter, RemoteChatMoved)))
        await op.wait_text("Thank you")
        op.privmsg("#over", "now")
        await adapter.inbox.text("now")
        assert [(event.chat, event.new) for event in of(adapter, RemoteChatMoved)] == [("#a", "#over")]
        assert "nobody asked" not in adapter.inbox.texts
    finally:
        await adapter.stop()


async def test_a_forward_that_is_refused_is_not_followed(rig: StartRig, serve: StartServer) -> None:
    """The operators' no holds: the rooms stay with their channel, and nobody there is asked again."""
    server = await serve()
    adapter = await rig(server.port, "#a", channels={"forwards": "follow"})
    hearing = adapter.observer._hearing
    assert hearing is not None
    op = await adapter.witness("op", "#over")
    hearing.heard([b":irc.demo 470 relay #a #over :Forwarding to another channel"])
    await op.wait_text("asks to bridge this channel")
    op.privmsg("#over", "!bridge leave")
    await op.wait_for(lambda line: line.command == "PART" and line.nick == "relay")
    hearing.heard([b":irc.demo 470 relay #a #over :Forwarding to another channel"])
    op.privmsg("#over", "secret")
    bob = await adapter.witness("bob", "#a")
    bob.privmsg("#a", "here")
    await adapter.inbox.text("here")
    await eventually(lambda: not [one for one in adapter.host.tasks.running if "forward" in one.get_name()])
    assert of(adapter, RemoteChatMoved) == [] and adapter.inbox.texts == ["here"]
    assert len([line for line in op.lines if "asks to bridge" in line.text]) == 1


async def test_a_channel_that_is_closed_gets_no_rooms(rig: StartRig, serve: StartServer) -> None:
    """Also where nobody has to be asked: after a no nothing crosses there, so nothing moves there."""
    server = await serve()
    adapter = await rig(server.port, "#a", channels={"forwards": "follow"}, consent={"required": False})
    hearing = adapter.observer._hearing
    assert hearing is not None
    adapter.connector._state.consents.end(ChatId("#over"))
    hearing.heard([b":irc.demo 470 relay #a #over :Forwarding to another channel"])
    await eventually(lambda: not [one for one in adapter.host.tasks.running if "forward" in one.get_name()])
    hearing.heard([b":irc.demo 470 relay #a #open :Forwarding to another channel"])
    await adapter.inbox.until(lambda: bool(of(adapter, RemoteChatMoved)))
    assert [event.new for event in of(adapter, RemoteChatMoved)] == ["#open"]
