"""Private messages that came while their user was away: fetched for accounts, with ids, once (CHATHISTORY TARGETS)."""

from typing import Any

import pytest

from bridge_core.api.events import RemoteGap
from bridge_core.api.ids import ChatId, LoginId, UserId
from bridge_core.api.network import Login, LoginStatus
from bridge_core.content import to_plain
from bridges.irc.archive import Archive, Cursor, Page, RefusedHistoryError
from bridges.irc.codec.message import Line
from bridges.irc.demo.options import CAPABILITIES, Verdict
from bridges.irc.missed import Missed
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually

ANNA = UserId("@anna:hs.test")
PEER = ("message-tags", "batch", "draft/multiline", "echo-message")
KEY = f"heard/{ANNA}"


async def logged_in(adapter: Rig) -> Any:
    """A user's connection with an account of its own."""
    login = Login(LoginId(ANNA), ANNA, "Anna", settings={"account": "Anna"}, secrets={"password": "secret"})
    client: Any = adapter.connector.client(login, adapter.inbox)
    adapter.puppets[ANNA] = client
    await client.connect(None)
    await adapter.inbox.status(LoginStatus.CONNECTED, ANNA)
    await eventually(lambda: client.persona.account == "Anna")
    return client


async def again(adapter: Rig, client: Any) -> None:
    """Lets a connection end and come back."""
    before = sum(state.status is LoginStatus.CONNECTED and state.login == ANNA for state in adapter.inbox.states)
    await client.connect(None)
    await adapter.inbox.status(LoginStatus.CONNECTED, ANNA, count=before + 1)


async def test_what_came_meanwhile_is_handed_over(rig: StartRig, serve: StartServer) -> None:
    """Lines and messages of several lines, from whoever wrote; no requests to programs, and nothing that was known."""
    server = await serve(accounts={"Anna": "secret"})
    adapter = await rig(server.port, connects={"again": "needed"})  # the other connection is there first
    bob = await adapter.witness("Bob", "#a", caps=PEER)
    client = await logged_in(adapter)
    await eventually(lambda: KEY in adapter.host.kv.values)
    nick = client.persona.nick
    bob.raw(f"PRIVMSG {nick} :known")
    await adapter.inbox.text("known")
    server.faults.refuse_connections = True
    server.kill(nick, "cut")
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    since = adapter.host.kv.values[KEY]
    # A bouncer's part: the account's own other connection is there, and the server keeps what it is told.
    other = await _other(adapter, server, nick)
    bob.raw(f"PRIVMSG {nick} :missed")
    bob.raw(f"PRIVMSG {nick} :\x01VERSION\x01")
    bob.raw(f"BATCH +1 draft/multiline {nick}")
    bob.raw(f"@batch=1 PRIVMSG {nick} :one")
    bob.raw(f"@batch=1 PRIVMSG {nick} :two")
    bob.raw("BATCH -1")
    await bob.sync()
    await other.close()
    assert since.isdigit()
    await again(adapter, client)
    await adapter.inbox.text("one\ntwo")
    private = [message for message in adapter.inbox.messages if message.receiver == ANNA]
    texts = [to_plain(message.content.text) for message in private]
    assert texts[-2:] == ["missed", "one\ntwo"] and {message.chat for message in private} == {ChatId("bob")}
    assert all(message.id for message in private)


async def _other(adapter: Rig, server: Any, nick: str) -> Any:
    """Another connection of the same account under its nick."""
    server.faults.refuse_connections = False
    witness = await adapter.witness(nick, caps=("message-tags",))
    witness.raw("PRIVMSG NickServ :IDENTIFY Anna secret")
    await witness.sync()
    return witness


async def absent(adapter: Rig, server: Any, client: Any, *, mark: bytes | None = None) -> Any:
    """The connection is away, and the account's other connection there, as of a bouncer; `mark` as an earlier process
    left it, which was killed."""
    nick = client.persona.nick
    server.faults.refuse_connections = True
    server.kill(nick, "cut")
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    if mark is not None:
        await eventually(lambda: not client._letterbox._pump._marks)
        adapter.host.kv.values[KEY] = mark
    return await _other(adapter, server, nick)


async def away_rig(rig: StartRig, serve: StartServer, **config: Any) -> tuple[Rig, Any, Any]:
    """A rig in which Anna's connection is there and stays away once it is cut."""
    server = await serve(accounts={"Anna": "secret"}, history_limit=5)
    adapter = await rig(server.port, connects={"again": "needed"}, **config)
    client = await logged_in(adapter)
    await eventually(lambda: KEY in adapter.host.kv.values)
    return adapter, server, client


def gaps(adapter: Rig) -> list[RemoteGap]:
    """The gaps that were told, of the user's own chats."""
    return [event for event in adapter.inbox.events if isinstance(event, RemoteGap) and event.receiver == ANNA]


async def test_the_mark_is_stored_behind_what_it_speaks_of(rig: StartRig, serve: StartServer) -> None:
    """Whoever is killed before what was fetched is committed finds the old mark, and fetches it again."""
    adapter, server, client = await away_rig(rig, serve)
    bob = await adapter.witness("Bob", caps=PEER)
    other = await absent(adapter, server, client, mark=b"1000")
    bob.raw(f"PRIVMSG {other.nick} :missed")
    await bob.sync()
    await other.close()
    adapter.inbox.gate.clear()
    await again(adapter, client)
    await eventually(lambda: bool(client._letterbox._pump._marks))
    assert adapter.host.kv.values[KEY] == b"1000" and "missed" not in adapter.inbox.texts
    adapter.inbox.gate.set()
    await adapter.inbox.text("missed")
    await eventually(lambda: int(adapter.host.kv.values[KEY]) > 1000)


@pytest.mark.parametrize("tagged", [True, False])
async def test_own_words_are_nobody_elses(
    rig: StartRig, serve: StartServer, monkeypatch: pytest.MonkeyPatch, tagged: bool
) -> None:
    """A conversation holds both sides: what another client of the account wrote, or this one under the nick it had,
    is not told as what somebody writes to its user, by the account and, without its tag, by whom it was said to."""
    adapter, server, client = await away_rig(rig, serve)
    bob = await adapter.witness("Bob", caps=PEER)
    other = await absent(adapter, server, client)
    other.raw("PRIVMSG Bob :my own words")
    bob.raw(f"PRIVMSG {other.nick} :an answer")
    await bob.sync()
    await other.sync()
    hand_over = Missed._hand_over

    def changed(missed: Missed, session: Any, target: str, item: Any) -> ChatId | None:
        if isinstance(item, Line):
            tags = {**item.tags, "account": "ANNA"} if tagged and "own" in item.param(1) else dict(item.tags)
            if not tagged:
                tags.pop("account", None)
            source = item.source
            if "own" in item.param(1) and source is not None:
                source = source._replace(nick="AnnaBefore")
                item = item._replace(params=(session.nick, item.param(1))) if tagged else item
            item = item._replace(tags=tags, source=source)
        return hand_over(missed, session, target, item)

    monkeypatch.setattr(Missed, "_hand_over", changed)
    await other.close()
    await again(adapter, client)
    await adapter.inbox.text("an answer")
    assert "my own words" not in adapter.inbox.texts


async def test_all_pages_are_fetched_behind_what_is_known(rig: StartRig, serve: StartServer) -> None:
    """After a crash the mark is old: what was heard since is told once more, and what is newer behind it."""
    adapter, server, client = await away_rig(rig, serve)
    bob = await adapter.witness("Bob", caps=PEER)
    for number in range(7):
        bob.raw(f"PRIVMSG {client.persona.nick} :known {number}")
    await adapter.inbox.text("known 6")
    other = await absent(adapter, server, client, mark=b"1000")
    for number in range(7):
        bob.raw(f"PRIVMSG {other.nick} :missed {number}")
    await bob.sync()
    await other.close()
    await again(adapter, client)
    await adapter.inbox.text("missed 6")
    assert [text for text in adapter.inbox.texts if text.startswith("missed")] == [f"missed {n}" for n in range(7)]
    assert gaps(adapter) == []


async def test_what_is_dated_a_little_before_the_mark_is_fetched(rig: StartRig, serve: StartServer) -> None:
    """The server's clock may be behind ours: it dates what it is told after the mark before it."""
    adapter, server, client = await away_rig(rig, serve)
    bob = await adapter.witness("Bob", caps=PEER)
    ahead = adapter.host.clock.now_ms() + 30_000
    other = await absent(adapter, server, client, mark=str(ahead).encode())
    bob.raw(f"PRIVMSG {other.nick} :missed")
    await bob.sync()
    await other.close()
    await again(adapter, client)
    await adapter.inbox.text("missed")


async def test_what_is_too_much_is_a_gap(rig: StartRig, serve: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one person no more than configured, and of no more people than a bound: a notice says where."""
    monkeypatch.setattr("bridges.irc.missed._PARTNERS_AT_MOST", 1)
    adapter, server, client = await away_rig(rig, serve, messages={"missed": 7})
    bob, eve = await adapter.witness("Bob", caps=PEER), await adapter.witness("Eve", caps=PEER)
    other = await absent(adapter, server, client)
    for number in range(9):
        bob.raw(f"PRIVMSG {other.nick} :missed {number}")
    await bob.sync()
    eve.raw(f"PRIVMSG {other.nick} :me too")
    await eve.sync()
    await other.close()
    await again(adapter, client)
    await adapter.inbox.until(lambda: len(gaps(adapter)) == 2)
    assert [gap.chat for gap in gaps(adapter)] == [ChatId("bob"), ChatId("eve")]
    assert [text for text in adapter.inbox.texts if text.startswith("missed")] == [f"missed {n}" for n in range(7)]
    assert "7 messages" in gaps(adapter)[0].reason and "people" in gaps(adapter)[1].reason


async def test_more_people_than_the_server_names_at_once(rig: StartRig, serve: StartServer) -> None:
    """Whoever wrote is found, five of them in each answer."""
    adapter, server, client = await away_rig(rig, serve)
    peers = [await adapter.witness(f"peer{number}", caps=PEER) for number in range(12)]
    other = await absent(adapter, server, client)
    for number, peer in enumerate(peers):
        at = adapter.host.clock.now_ms()
        peer.raw(f"PRIVMSG {other.nick} :missed {number}")
        await peer.sync()
        await eventually(lambda at=at: adapter.host.clock.now_ms() > at)  # type: ignore[misc]
    await other.close()
    await again(adapter, client)
    everything = {f"missed {number}" for number in range(12)}
    await adapter.inbox.until(lambda: everything <= set(adapter.inbox.texts))
    assert gaps(adapter) == []


async def test_a_refused_conversation_is_a_gap_of_its_own(
    rig: StartRig, serve: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server does not tell of one person keeps nobody from what others wrote."""
    adapter, server, client = await away_rig(rig, serve)
    bob, eve = await adapter.witness("Bob", caps=PEER), await adapter.witness("Eve", caps=PEER)
    other = await absent(adapter, server, client)
    bob.raw(f"PRIVMSG {other.nick} :missed")
    await bob.sync()
    eve.raw(f"PRIVMSG {other.nick} :me too")
    await eve.sync()
    await other.close()
    page = Archive.page

    async def refuse(archive: Archive, target: str, after: Cursor, limit: int) -> Page:
        if target == "Bob":
            raise RefusedHistoryError("MESSAGE_ERROR", "not today")
        return await page(archive, target, after, limit)

    monkeypatch.setattr(Archive, "page", refuse)
    await again(adapter, client)
    await adapter.inbox.text("me too")
    await adapter.inbox.until(lambda: len(gaps(adapter)) == 1)
    assert gaps(adapter)[0].reason == "not today"


async def test_while_messages_come_the_mark_follows(rig: StartRig, serve: StartServer) -> None:
    """A crash after days of connection asks for what came since the last messages, not for all those days."""
    adapter, _, client = await away_rig(rig, serve)
    bob = await adapter.witness("Bob", caps=PEER)
    await eventually(lambda: client._missed._whole)
    client._missed._marked_at -= 3600
    adapter.host.kv.values[KEY] = b"1000"
    bob.raw(f"PRIVMSG {client.persona.nick} :known")
    await adapter.inbox.text("known")
    assert int(adapter.host.kv.values[KEY]) > 1000


async def test_the_mark_is_of_the_message_not_of_now(rig: StartRig, serve: StartServer) -> None:
    """What was said behind a message may wait in the socket: nothing of it is skipped by the mark."""
    adapter, _, client = await away_rig(rig, serve)
    await eventually(lambda: client._missed._whole)
    client._missed._marked_at -= 3600
    session = client._session
    client._ears.heard(session, [f"@time=2020-01-01T00:00:00.000Z :bob!b@h PRIVMSG {session.nick} :late".encode()])
    await adapter.inbox.text("late")
    await eventually(lambda: adapter.host.kv.values[KEY] == b"1577836800000")


async def test_a_nick_alone_is_told_nothing(rig: StartRig, serve: StartServer) -> None:
    """Without an account the nick may have been another's: nothing is asked for, and nothing remembered."""
    server = await serve()
    adapter = await rig(server.port)
    asked: list[str] = []

    def note(nick: str, command: str, params: list[str]) -> Any:
        asked.append(command)
        return Verdict.PASS

    server.faults.on_line = note
    await adapter.puppet("@anna:hs.test")
    assert "CHATHISTORY" not in asked and KEY not in adapter.host.kv.values


async def test_without_history_nothing_is_asked_for(rig: StartRig, serve: StartServer) -> None:
    """A server that remembers nothing is not asked; the login works as ever."""
    server = await serve(accounts={"Anna": "secret"}, capabilities=CAPABILITIES - {"draft/chathistory"})
    adapter = await rig(server.port)
    client = await logged_in(adapter)
    await eventually(lambda: client.persona.nick is not None)
    assert not any(key.startswith("heard/") for key in adapter.host.kv.values)


async def test_nothing_is_kept_of_who_has_logged_out(rig: StartRig, serve: StartServer) -> None:
    """Neither up to when they had read, nor with whom they talked; nothing more is handed to their inbox."""
    adapter, _, client = await away_rig(rig, serve)
    bob = await adapter.witness("Bob", caps=PEER)
    bob.raw(f"PRIVMSG {client.persona.nick} :hello")
    await adapter.inbox.text("hello")
    await eventually(lambda: f"partners/{ANNA}" in adapter.host.kv.values)
    state = adapter.observer._state
    await client.log_out()
    assert not [key for key in adapter.host.kv.values if key.startswith(("heard/", "partners/"))]
    assert state.inboxes and state.partners.chats(LoginId(ANNA)) == []
    await client.disconnect()
    assert not state.inboxes
    assert KEY not in adapter.host.kv.values
