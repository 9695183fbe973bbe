"""Private messages that came while their user was away: fetched for accounts, with ids, once (CHATHISTORY TARGETS)."""

from typing import Any

from bridge_core.api.ids import ChatId, LoginId, UserId
from bridge_core.api.network import Login, LoginStatus
from bridge_core.content import to_plain
from bridges.irc.demo.options import CAPABILITIES, Verdict
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
