"""What was missed: fetched from servers that remember, told as a gap where they do not; renamed channels."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.api.errors import NotConnectedError, RejectedError, TransientError
from bridge_core.api.events import (
    RemoteChatMoved,
    RemoteEvent,
    RemoteGap,
    RemoteMessage,
    RemoteReaction,
    RemoteRedaction,
)
from bridge_core.api.ids import ChatId
from bridge_core.api.network import LoginStatus
from bridge_core.content import to_plain
from bridges.irc.archive import parse_cursor
from bridges.irc.batches import Batch
from bridges.irc.codec.message import Line, Source
from bridges.irc.demo.options import CAPABILITIES, DRAFTS
from bridges.irc.outlet import Outlet
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually

A = ChatId("#a")
PEER = ("message-tags", "batch", "draft/multiline", "server-time", "echo-message", "draft/message-redaction")


def texts(events: "tuple[RemoteEvent, ...]") -> list[str]:
    """The texts of messages."""
    return [to_plain(event.content.text) for event in events if isinstance(event, RemoteMessage)]


async def said(peer: Any, text: str, tags: str = "") -> str:
    """Says something in the channel; the id that the server gave it."""
    mark = peer.mark()
    peer.raw(f"{tags}PRIVMSG #a :{text}")
    line = await peer.wait_for(lambda line: line.command == "PRIVMSG" and line.text == text, since=mark)
    return str(line.tags["msgid"])


async def break_off(adapter: Rig, server: Any, nick: str = "relay") -> None:
    """Cuts the observer's connection and waits for the next."""
    before = sum(state.status is LoginStatus.CONNECTED and state.login is None for state in adapter.inbox.states)
    server.kill(nick, "cut")
    await adapter.inbox.status(LoginStatus.CONNECTED, count=before + 1)
    assert await adapter.observer.chat_info(A) is not None


@given(st.binary(max_size=40))
def test_no_cursor_raises(cursor: bytes) -> None:
    """Whatever is stored, it is read as a time and an id."""
    at, message = parse_cursor(cursor)
    assert at >= 0 and isinstance(message, str)
    assert parse_cursor(b"1700000000000:a:b") == (1700000000000, "a:b")


async def test_the_latest_and_what_follows_are_told_in_order(rig: StartRig, serve: StartServer) -> None:
    """First the latest messages, then page by page what was said behind a cursor, each with id, time and sender."""
    server = await serve(history_limit=4)
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=PEER)
    ids = [await said(bob, f"n{number}") for number in range(10)]
    assert adapter.observer.remembers()
    latest = await adapter.observer.history(A, None, 3)
    assert texts(latest.events) == ["n7", "n8", "n9"]
    live = await adapter.inbox.text("n2")
    cursor = adapter.observer.reached(live)
    told: list[RemoteEvent] = []
    for _ in range(5):
        page = await adapter.observer.history(A, cursor, 100)
        told += page.events
        cursor = page.cursor
        if not page.more:
            break
    messages = [event for event in told if isinstance(event, RemoteMessage)]
    assert [event.id for event in messages] == ids[3:]
    assert [event.timestamp for event in messages] == [event.timestamp for event in adapter.inbox.messages[3:]]
    assert {event.sender.id for event in messages} == {"bob"}


async def test_the_answer_of_another_channel_is_no_answer(rig: StartRig, serve: StartServer) -> None:
    """What a server tells late, or unasked, of one channel is not shown as another's."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=PEER)
    await said(bob, "public")
    await adapter.inbox.text("public")
    server.stall()
    asked = asyncio.ensure_future(adapter.observer.history(A, None, 3))
    archive = adapter.observer._archive
    assert archive is not None
    await eventually(lambda: archive._answer is not None)
    other = Line(
        {"msgid": "s1", "time": "2026-01-01T00:00:00.000Z"}, Source("eve", "e", "h"), "PRIVMSG", ("#b", "secret")
    )
    archive._told(Batch("chathistory", ("#b",), {}, None, (other,)))
    archive._refused(Line({}, None, "FAIL", ("CHATHISTORY", "INVALID_TARGET", "LATEST", "#b", "no")))
    await asyncio.sleep(0)
    assert not asked.done()
    server.stall(False)
    assert texts((await asked).events) == ["public"]


async def test_what_was_said_meanwhile_is_there_and_no_gap_is_told(rig: StartRig, serve: StartServer) -> None:
    """After a broken connection: messages of several lines, reactions and redactions; our own words are left out."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=PEER)
    anna = await adapter.puppet("@anna:hs.test")
    first = await said(bob, "before")
    cursor = adapter.observer.reached(await adapter.inbox.text("before"))
    server.faults.refuse_connections = True
    server.kill("relay", "cut")
    await adapter.inbox.status(LoginStatus.DISCONNECTED)
    await adapter.say(anna, "mine")
    bob.raw("BATCH +1 draft/multiline #a")
    bob.raw("@batch=1 PRIVMSG #a :one")
    bob.raw("@batch=1 PRIVMSG #a :two")
    bob.raw("BATCH -1")
    bob.raw(f"@+draft/react=x;+draft/reply={first} TAGMSG #a")
    oops = await said(bob, "oops")
    bob.raw(f"REDACT #a {first}")
    await bob.sync()
    server.faults.refuse_connections = False
    await adapter.inbox.status(LoginStatus.CONNECTED, count=2)
    told = await adapter.observer.history(A, cursor, 100)
    assert texts(told.events) == ["one\ntwo", "oops"]
    assert [event.target for event in told.events if isinstance(event, RemoteReaction)] == [first]
    assert [event.target for event in told.events if isinstance(event, RemoteRedaction)] == [first]
    assert next(event.id for event in told.events if isinstance(event, RemoteMessage) and event.id == oops)
    assert not any(isinstance(event, RemoteGap) for event in adapter.inbox.events)


@pytest.mark.parametrize("how", ["server", "config"])
async def test_without_history_the_gap_is_told(rig: StartRig, serve: StartServer, how: str) -> None:
    """Where the server keeps nothing, or the admin does not want it, the room says what may be missing."""
    server = await serve(capabilities=CAPABILITIES - DRAFTS if how == "server" else CAPABILITIES)
    adapter = await rig(server.port, messages={"history": how == "server"})
    assert not adapter.observer.remembers()
    await break_off(adapter, server)
    await adapter.inbox.until(lambda: any(isinstance(event, RemoteGap) for event in adapter.inbox.events))


async def test_what_a_channel_kept_us_out_of_is_a_gap_even_so(rig: StartRig, serve: StartServer) -> None:
    """What was said while we were made to leave one channel alone is not for us, whatever the server remembers."""
    server = await serve()
    adapter = await rig(server.port)
    assert adapter.observer.remembers()
    adapter.observer.thrown_out(A, "made to leave")
    adapter.observer.entered(A)
    await adapter.inbox.until(lambda: any(isinstance(event, RemoteGap) for event in adapter.inbox.events))


async def test_refusals_are_in_the_servers_words(rig: StartRig, serve: StartServer) -> None:
    """A channel that we are not in, a conversation that is none, a connection that is gone."""
    server = await serve()
    adapter = await rig(server.port)
    with pytest.raises(RejectedError):
        await adapter.observer.history(ChatId("bob"), None, 5)
    archive = adapter.observer._archive
    assert archive is not None
    with pytest.raises(RejectedError, match="could not be retrieved"):
        await archive.history(ChatId("#nowhere"), None, 5)
    waiting = asyncio.create_task(archive.history(A, None, 5))
    await asyncio.sleep(0)
    archive.closed()
    with pytest.raises(NotConnectedError):
        await waiting


async def test_an_answer_is_waited_for_from_when_its_question_is_sent(
    rig: StartRig, serve: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that waits for its turn among other lines loses no time of its answer's."""
    monkeypatch.setattr("bridges.irc.archive._PATIENCE", 0)
    server = await serve()
    adapter = await rig(server.port)
    session = adapter.observer._session
    assert session is not None
    outlet = session.outlet = Outlet(1000.0, 1.0, session._write_late)
    outlet._left = -1e9
    waiting = asyncio.create_task(adapter.observer.history(A, None, 5))
    await eventually(lambda: len(outlet) > 0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    outlet._left = 1.0
    outlet._serve()
    with pytest.raises(TransientError, match="in time"):
        await waiting


async def test_what_a_server_replays_unasked_is_not_shown(rig: StartRig, serve: StartServer) -> None:
    """Some servers repeat a channel's past to whoever joins: nobody is shown what was said before they came."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    assert adapter.observer._hearing is not None
    adapter.observer._hearing.heard(
        [
            b":irc.demo BATCH +r chathistory #a",
            b"@batch=r;time=2020-01-01T00:00:00.000Z;msgid=old :eve!e@h PRIVMSG #a :of old",
            b":irc.demo BATCH -r",
        ]
    )
    bob.privmsg("#a", "of today")
    await adapter.inbox.text("of today")
    assert adapter.inbox.texts == ["of today"]


async def test_who_spoke_then_is_not_who_has_the_nick_now(rig: StartRig, serve: StartServer) -> None:
    """What the nick of an account said yesterday is not that account's, and what the account said stays its own."""
    server = await serve(accounts={"Bert": "secret"})
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=(*PEER, "account-tag"))
    await said(bob, "as a stranger")
    bob.raw("PRIVMSG NickServ :IDENTIFY Bert secret")
    await bob.sync()
    await said(bob, "as Bert")
    await adapter.inbox.text("as Bert")
    assert [message.sender.id for message in adapter.inbox.messages] == ["bob", "=bert"]
    told = await adapter.observer.history(A, None, 10)
    people = [event.sender.id for event in told.events if isinstance(event, RemoteMessage)]
    assert people == ["bob", "=bert"]


async def test_a_renamed_channel_keeps_its_room(rig: StartRig, serve: StartServer) -> None:
    """RENAME moves the chat; observer and puppets stay in it, and what is said crosses both ways."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    server.world.channel("#a").members[server.world.find("Bob")] = "o"
    bob.raw("RENAME #a #New :moved")
    await adapter.inbox.until(lambda: any(isinstance(event, RemoteChatMoved) for event in adapter.inbox.events))
    (moved,) = [event for event in adapter.inbox.events if isinstance(event, RemoteChatMoved)]
    assert (moved.chat, moved.new) == ("#a", "#new") and moved.by is not None and moved.by.id == "bob"
    await adapter.connector.chat_added(ChatId("#new"))
    await adapter.connector.chat_removed(ChatId("#a"))
    await eventually(lambda: anna.ready(ChatId("#new")))
    bob.raw("PRIVMSG #new :hello")
    assert (await adapter.inbox.text("hello")).chat == "#new"
    await adapter.say(anna, "still here", chat="#new")
    await adapter.relay("me too", chat="#new")
    await bob.wait_text("<A\u200bnna> me too")
    assert not any(line.command in ("PART", "JOIN") and line.nick in ("relay", "anna") for line in bob.lines[-4:])


async def test_a_name_that_is_none_is_not_followed(rig: StartRig, serve: StartServer) -> None:
    """Whatever a server says a channel is called now, no line is made of what is no channel's name."""
    server = await serve()
    adapter = await rig(server.port)
    assert adapter.observer._hearing is not None
    adapter.observer._hearing.heard([b":bob!b@h RENAME #a nochannel :x", b":bob!b@h RENAME #a", b":s RENAME #x #y :z"])
    assert adapter.observer.joined(A)


async def test_what_the_server_is_like_is_known_before_the_welcome(rig: StartRig, serve: StartServer) -> None:
    """With draft/extended-isupport it is asked for in time; later changes and nicks in use are seen, too."""
    server = await serve(channel_length=33)
    taken = await Rig(server.port or 0).start()
    adapter = await rig(server.port)
    assert adapter.observer._session is not None and adapter.observer._session.nick == "relay_"
    assert adapter.connector._state.isupport.channellen == 33
    assert adapter.observer._hearing is not None
    adapter.observer._hearing.heard([b":irc.demo 005 relay_ CHANNELLEN=44 :are supported by this server"])
    assert adapter.connector._state.isupport.channellen == 44
    await taken.stop()
