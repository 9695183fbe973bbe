"""The observer: reads channels on every kind of server, loses nothing, tells what it missed."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.content import Kind, Mention, Plain, Span, Style
from bridge_core.api.events import RemoteGap, RemoteRename
from bridge_core.api.ids import ChatId
from bridge_core.api.network import LoginStatus
from bridges.irc.demo.options import CAPABILITIES, DRAFTS, Verdict
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually


async def test_messages_notices_emotes_and_styles_arrive_in_order(rig: StartRig, port: int) -> None:
    """Every kind of line becomes a message of its kind, in the order of the channel."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    bob.privmsg("#a", "plain")
    bob.notice("#A", "noted")
    bob.action("#a", "waves")
    bob.privmsg("#a", "\x02bold\x02 end")
    bob.privmsg("#a", "\x01VERSION\x01")
    bob.privmsg("#a", "last")
    await adapter.inbox.text("last")
    found = [(message.content.kind, message.content.text) for message in adapter.inbox.messages]
    assert found == [
        (Kind.TEXT, (Plain("plain"),)),
        (Kind.NOTICE, (Plain("noted"),)),
        (Kind.EMOTE, (Plain("waves"),)),
        (Kind.TEXT, (Span(Style.BOLD, (Plain("bold"),)), Plain(" end"))),
        (Kind.TEXT, (Plain("last"),)),
    ]
    first = adapter.inbox.messages[0]
    assert (first.chat, first.sender.id, first.sender.name, first.receiver) == ("#a", "bob", "Bob", None)
    assert first.timestamp is not None


async def test_ids_times_and_replies_come_from_tags(rig: StartRig, serve: StartServer) -> None:
    """msgid, server-time and +reply are taken over."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=("message-tags",))
    bob.privmsg("#a", "one")
    first = await adapter.inbox.text("one")
    assert first.id
    bob.raw(f"@+reply={first.id} PRIVMSG #a :two")
    assert (await adapter.inbox.text("two")).reply_to == first.id


async def test_nicks_of_the_channel_are_mentions(rig: StartRig, port: int) -> None:
    """A nick in the channel becomes a mention, a puppet's nick one of its Matrix user, an address stays an address."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    await adapter.witness("carla", "#a")
    await adapter.puppet("@anna:hs.test", name="Anna")
    await bob.sync()
    bob.privmsg("#a", "Anna: ask CARLA, not https://x.test/carla or nobody")
    await adapter.inbox.until(lambda: len(adapter.inbox.messages) == 1)
    nodes = adapter.inbox.messages[0].content.text
    assert [(node.name, node.remote, node.matrix) for node in nodes if isinstance(node, Mention)] == [
        ("Anna", None, "@anna:hs.test"),
        ("CARLA", "carla", None),
    ]
    assert nodes[2:] and isinstance(nodes[-1], Plain) and "https://x.test/carla" in nodes[-1].text


async def test_a_backlog_into_a_slow_inbox_is_held_and_lost_nowhere(rig: StartRig, serve: StartServer) -> None:
    """5,000 lines while nothing is committed: reading stops, then all arrive once each, in order."""
    server = await serve(send_queue=1 << 24)
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    adapter.inbox.gate.clear()
    for number in range(5000):
        bob.privmsg("#a", f"line {number} {'x' * 300}")
        if number % 500 == 0:
            await bob.sync()
    await bob.sync()
    pump = adapter.observer._pump
    assert pump is not None
    await eventually(lambda: len(pump) >= 2000)
    held = len(pump)
    assert held < 2300
    adapter.inbox.gate.set()
    await adapter.inbox.until(lambda: len(adapter.inbox.messages) == 5000, 60)
    assert [text.split()[1] for text in adapter.inbox.texts] == [str(number) for number in range(5000)]
    assert max(adapter.inbox.batches) <= 200


async def test_a_restart_of_the_server_is_a_gap_and_a_rejoin(rig: StartRig, serve: StartServer) -> None:
    """After a loss every channel is joined again and told what time is missing, where the server forgets it."""
    server = await serve(capabilities=CAPABILITIES - DRAFTS)
    adapter = await rig(server.port, "#a", "#b")
    bob = await adapter.witness("Bob", "#a")
    bob.privmsg("#a", "before")
    await adapter.inbox.text("before")
    await server.stop()
    lost = await adapter.inbox.status(LoginStatus.DISCONNECTED)
    assert lost.reason
    await server.start()
    await adapter.inbox.status(LoginStatus.CONNECTED, count=2)

    def gaps() -> dict[str, RemoteGap]:
        return {event.chat: event for event in adapter.inbox.events if isinstance(event, RemoteGap)}

    await adapter.inbox.until(lambda: gaps().keys() == {"#a", "#b"})
    assert gaps()["#a"].since <= gaps()["#a"].until
    assert gaps()["#a"].reason == lost.reason
    bob = await adapter.witness("Bob", "#a")
    bob.privmsg("#a", "after")
    await adapter.inbox.text("after")
    assert adapter.inbox.texts == ["before", "after"]


async def test_a_kick_is_answered_with_a_rejoin_and_a_gap(rig: StartRig, port: int) -> None:
    """Where a kick ends nothing, the observer comes back to the channel, with a gap that says by whom."""
    adapter = await rig(port, "#a", "#b", reconnect_min=0.05, consent={"kick_ends": False})
    op = await adapter.witness("op")
    op.raw("JOIN #x")
    await op.sync()
    await adapter.connector.chat_added(ChatId("#x"))
    await op.wait_for(lambda line: line.command == "JOIN" and line.nick == "relay")
    mark = op.mark()
    op.raw("KICK #x relay :out")
    await op.wait_for(lambda line: line.command == "JOIN" and line.nick == "relay", since=mark)
    await adapter.inbox.until(lambda: any(isinstance(event, RemoteGap) for event in adapter.inbox.events))
    gap = next(event for event in adapter.inbox.events if isinstance(event, RemoteGap))
    assert (gap.chat, gap.reason) == ("#x", "the bridge was kicked by op: out")


async def test_a_refused_channel_is_tried_again(rig: StartRig, port: int) -> None:
    """A channel that is closed is asked again later; a message to it comes back in the server's words meanwhile."""
    adapter = await rig(port, "#a", join_retry=0.2, join_timeout=5)
    op = await adapter.witness("op", "#shut")
    op.raw("MODE #shut +i")
    await op.sync()
    await adapter.connector.chat_added(ChatId("#shut"))
    place = adapter.observer._places.get(ChatId("#shut"))
    assert place is not None
    await eventually(lambda: place.reason != "")
    with pytest.raises(Exception, match=r"cannot be in the channel: .+"):
        await adapter.relay("hello", chat="#shut")
    op.raw("MODE #shut -i")
    await op.wait_for(lambda line: line.command == "JOIN" and line.nick == "relay")
    await adapter.relay("hello", chat="#shut")
    await op.wait_text("hello")


async def test_many_channels_are_joined_by_few_lines(rig: StartRig, serve: StartServer) -> None:
    """1,000 channels take JOIN lines of at most 512 bytes, as many channels in each as fit."""
    server = await serve(channels_per_client=2000)
    lines: list[int] = []

    def count(nick: str, command: str, params: list[str]) -> Any:
        if command == "JOIN":
            lines.append(len(params[0]))
        return Verdict.PASS

    server.faults.on_line = count
    adapter = await rig(server.port, *(f"#channel-{number}" for number in range(1000)))
    assert len(lines) <= 30
    assert max(lines) <= 500
    assert all(adapter.observer.joined(chat) for chat in adapter.host.chats())


async def test_limits_on_targets_are_kept(rig: StartRig, serve: StartServer) -> None:
    """TARGMAX for JOIN bounds the channels of one line."""
    server = await serve(join_targets=2)
    await rig(server.port, "#a", "#b", "#c", "#d", "#e")


async def test_those_who_write_to_the_relay_are_told_once(rig: StartRig, port: int) -> None:
    """A private message to the relay is answered once and not bridged; CTCP requests are answered; notices never."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob")
    bob.privmsg("relay", "hello?")
    assert "bridge to Matrix" in (await bob.wait_text("bridge")).text
    bob.privmsg("relay", "hello??")
    bob.notice("relay", "\x01PING 1\x01")
    bob.privmsg("relay", "\x01PING 17\x01")
    await bob.wait_text("\x01PING 17\x01")
    await bob.sync()
    assert len(bob.messages("Bob")) == 2
    assert adapter.inbox.messages == []


async def test_a_new_nick_is_told(rig: StartRig, port: int) -> None:
    """A nick change is a rename, and later lines come from the new nick."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    bob.raw("NICK Robert")
    bob.privmsg("#a", "hi")
    message = await adapter.inbox.text("hi")
    assert (message.sender.id, message.sender.name) == ("robert", "Robert")
    rename = next(event for event in adapter.inbox.events if isinstance(event, RemoteRename))
    assert (rename.old, rename.new.id) == ("bob", "robert")


async def test_the_members_and_topic_of_a_channel_are_known(rig: StartRig, port: int) -> None:
    """`chat_info` has spelling, topic and members but our own connections; of no channel it has nothing."""
    adapter = await rig(port, "#a", join_timeout=0.2)
    bob = await adapter.witness("Bob", "#Topic")
    bob.raw("TOPIC #Topic :the topic")
    await bob.sync()
    await adapter.connector.chat_added(ChatId("#topic"))
    await eventually(lambda: adapter.observer.joined(ChatId("#topic")))
    bob.privmsg("#topic", "done")
    await adapter.inbox.text("done")
    info = await adapter.observer.chat_info(ChatId("#topic"))
    assert info is not None and info.members is not None
    assert (info.name, info.topic) == ("#Topic", "the topic")
    assert {member.name for member in info.members} == {"Bob"}
    assert await adapter.observer.chat_info(ChatId("#nowhere")) is None


async def test_a_wrong_password_is_bad_credentials(rig: StartRig, serve: StartServer) -> None:
    """The server's refusal is reported as what it is, and the observer does not storm it."""
    server = await serve(password="right")
    adapter = Rig(server.port or 0, password="wrong", reconnect_max=60)
    await adapter.connector.start(adapter.host, adapter.inbox)  # type: ignore[arg-type]
    observer = adapter.connector.client(None, adapter.inbox)
    await observer.connect(None)
    state = await adapter.inbox.status(LoginStatus.BAD_CREDENTIALS)
    assert state.reason
    await asyncio.sleep(0.3)
    assert [state.status for state in adapter.inbox.states].count(LoginStatus.CONNECTING) == 1
    await observer.disconnect()


@pytest.mark.parametrize("mechanism", ["plain"])
async def test_the_bot_logs_in(rig: StartRig, serve: StartServer, mechanism: str) -> None:
    """SASL with the right password connects; with a wrong one it is bad credentials."""
    server = await serve(accounts={"bridge": "secret"})
    await rig(server.port, sasl={"mechanism": mechanism, "user": "bridge", "password": "secret"})
    assert server.client("relay").account == "bridge"


@pytest.mark.server
async def test_the_same_on_real_servers(rig: StartRig, ircd: Any) -> None:
    """Text, emotes, kicks, restarts and gaps on InspIRCd and ngIRCd are as on the demo server."""
    adapter = await rig(ircd.port, "#a", "#b")
    bob = await adapter.witness("Bob", "#a")
    bob.privmsg("#a", "one")
    bob.action("#a", "two")
    bob.notice("#a", "three \u00e9\u4e16")
    await adapter.inbox.text("three \u00e9\u4e16")
    assert [message.content.kind for message in adapter.inbox.messages] == [Kind.TEXT, Kind.EMOTE, Kind.NOTICE]
    assert adapter.inbox.texts == ["one", "two", "three \u00e9\u4e16"]
    await ircd.restart()
    await adapter.inbox.status(LoginStatus.CONNECTED, count=2)
    await adapter.inbox.until(
        lambda: {event.chat for event in adapter.inbox.events if isinstance(event, RemoteGap)} == {"#a", "#b"}
    )
    bob = await adapter.witness("Bob", "#a")
    bob.privmsg("#a", "again")
    await adapter.inbox.text("again")
