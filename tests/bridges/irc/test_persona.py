"""How Matrix users appear: the nick they want, chose or had, taken back when it is free; the account they log in to."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.ids import ChatId, LoginId, UserId
from bridge_core.api.login import AskUser, Complete
from bridge_core.api.network import Login, LoginStatus
from bridge_core.api.optional import LogsIn, OffersCommands
from bridges.irc import logins
from bridges.irc.autocommands import Autocommands, read, shown
from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.casemap import fold_rfc1459
from bridges.irc.codec.message import parse
from bridges.irc.codec.sasl import Plain
from bridges.irc.config import IrcConfig
from bridges.irc.config.nicks import Nicks
from bridges.irc.latelogin import LateLogin
from bridges.irc.nickbook import NickBook
from bridges.irc.regain import Regain
from bridges.irc.watch import Watch
from tests.bridges.irc.rig import FakeHost, Rig, StartRig, StartServer, eventually

ANNA = UserId("@anna:hs.test")
LOGIN = Login(LoginId(ANNA), ANNA, "Anna", provided=True)
SERVICES = ("NickServ", "ChanServ")


def book(**config: Any) -> NickBook:
    """A book of a network with these settings."""
    return NickBook(IrcConfig(server="irc.test", **config))


async def run(adapter: Rig, name: str, user: UserId = ANNA, **arguments: str) -> str:
    """A user's command."""
    offered = {one.name: one for one in adapter.connector.commands()}
    command: AdapterCommand = offered[name]
    return await command.run(CommandCall(user, CommandLevel.USER, arguments))


# Nicks


async def test_a_nick_that_was_chosen_or_had_comes_first_and_outlives_a_restart() -> None:
    """The choice, else the template; then what the user had last; then the fallbacks; then numbers. Each once."""
    host: Any = FakeHost(())
    nicks = book(nicks=Nicks(fallback=("$LOCALPART", "$DISPLAY-$SERVER")))
    await nicks.load(host)
    first = [nick for nick, _ in zip(nicks.candidates(LOGIN, 30), range(4), strict=False)]
    assert first == ["Anna", "Anna-hstest", "Anna_", "Anna_2"]
    await nicks.have(LOGIN, "Anna_2", 30)
    await nicks.choose(ANNA, "queen")
    again = book()
    await again.load(host)
    assert again.wanted(LOGIN, 30) == "queen"
    assert [nick for nick, _ in zip(again.candidates(LOGIN, 30), range(3), strict=False)] == ["queen", "Anna_2", "anna"]
    assert again.wanted(LOGIN, 4) == "Anna"  # what does not fit is not cut to somebody else's
    await again.choose(ANNA, None)
    await again.have(LOGIN, "Anna", 30)
    assert host.kv.values == {}


async def test_a_damaged_choice_is_forgotten_alone() -> None:
    """What cannot be a nick is not tried, and takes nobody else along."""
    host: Any = FakeHost(())
    host.kv.values = {"nick/@anna:hs.test": b'["a b", null]', "nick/@eve:hs.test": b'["eve2", null]'}
    nicks = book()
    await nicks.load(host)
    assert nicks.wanted(LOGIN, 30) == "Anna"
    assert nicks.chosen(UserId("@eve:hs.test")) == "eve2"
    assert list(host.kv.values) == ["nick/@eve:hs.test"]


async def test_a_user_chooses_a_nick(rig: StartRig, port: int) -> None:
    """`nick` changes it at once, tells the server's refusal, and holds for the next connection."""
    adapter = await rig(port)
    assert isinstance(adapter.connector, OffersCommands)
    bob = await adapter.witness("Bob", "#a")
    puppet = await adapter.puppet(ANNA, name="Anna")
    assert "You are called Anna" in await run(adapter, "nick")
    assert await run(adapter, "nick", new_nick="Queen") == "You are called Queen now."
    await bob.wait_for(lambda line: line.command == "NICK" and line.text == "Queen")
    with pytest.raises(RejectedError, match="in use"):
        await run(adapter, "nick", new_nick="bob")
    for bad in ("a b", "#a", "1st", "x" * 99, "relay"):
        with pytest.raises(RejectedError):
            await run(adapter, "nick", new_nick=bad)
    assert puppet.persona.nick == "Queen"
    await puppet.disconnect()
    await eventually(lambda: not puppet.ready(ChatId("#a")))
    await puppet.connect(None)
    again = await adapter.puppet(ANNA)
    assert again.persona.nick == "Queen"
    assert "usual nick" in await run(adapter, "nick", new_nick="-")
    await puppet.disconnect()


async def test_who_is_not_connected_chooses_for_later(rig: StartRig, port: int) -> None:
    """Without a connection a choice is kept; `whois` needs one and says so; a network may forbid choices."""
    adapter = await rig(port)
    assert "next connection" in await run(adapter, "nick", new_nick="Queen")
    with pytest.raises(NotConnectedError):
        await run(adapter, "whois", nick="bob")
    puppet = await adapter.puppet(ANNA, name="Anna")
    assert puppet.persona.nick == "Queen"
    strict = await rig(port, nick="other", nicks=Nicks(choice=False))
    with pytest.raises(RejectedError, match="not chosen"):
        await run(strict, "nick", new_nick="Queen")


async def test_a_nick_is_taken_back_once_it_is_free(rig: StartRig, port: int) -> None:
    """Whoever had to take another nick gets the wanted one when its holder has left."""
    adapter = await rig(port, nicks=Nicks(regain_min=0.05, regain_max=0.1))
    holder = await adapter.witness("Anna")
    puppet = await adapter.puppet(ANNA, name="Anna")
    assert puppet.persona.nick == "Anna_"
    await holder.quit("bye")
    await eventually(lambda: puppet.persona.nick == "Anna")
    bob = await adapter.witness("Bob", "#a")
    await adapter.say(puppet, "it is me")
    assert (await bob.wait_text("it is me")).nick == "Anna"
    await eventually(lambda: "nick/@anna:hs.test" not in adapter.host.kv.values)


async def test_a_nick_is_left_alone_where_that_is_configured(rig: StartRig, port: int) -> None:
    """Without `regain` nobody asks for the wanted nick again."""
    adapter = await rig(port, nicks=Nicks(regain=False, regain_min=0.05))
    holder = await adapter.witness("Anna")
    puppet = await adapter.puppet(ANNA, name="Anna")
    assert puppet.persona._regain is None and puppet.persona.nick == "Anna_"
    await holder.sync()


async def test_a_nick_that_is_taken_away_is_not_fought_for(rig: StartRig, serve: StartServer) -> None:
    """When the network renames a user who had the wanted nick, the bridge does not take it back by itself."""
    server = await serve()
    adapter = await rig(server.port, nicks=Nicks(regain_min=0.01, regain_max=0.02))
    puppet = await adapter.puppet(ANNA, name="Anna")
    assert puppet._session is not None
    puppet._session.tell("NICK", "Guest1")  # as services do it, without the user's wish
    await eventually(lambda: puppet.persona.nick == "Guest1")
    assert puppet.persona._regain is None
    assert await run(adapter, "nick", new_nick="Anna") == "You are called Anna now."


class Monitored:
    """What the observer was asked to say."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def tell(self, command: str, *params: str) -> None:
        self.told.append((command, *params))


async def test_a_watched_nick_is_tried_at_once_when_it_is_free() -> None:
    """With MONITOR nothing is tried while the server says that the nick is taken, and at once when it is free."""
    watch, session, asked = Watch(), Monitored(), asyncio.Event()
    watch.opened(session, "100", fold_rfc1459)
    regain = Regain("Anna", Nicks(regain_min=3600, regain_max=3600), watch, lambda nick: asked.set())
    regain.start()
    assert session.told == [("MONITOR", "+", "Anna")]
    take = watch.handlers()
    take["730"](parse(b":s 730 relay :anna!a@h"))
    regain._try()
    assert not asked.is_set() and "anna" in watch and watch.mask("ANNA") == "anna!a@h"
    take["731"](parse(b":s 731 relay :Anna"))
    async with asyncio.timeout(10):
        await asked.wait()
    regain.stop()
    regain.stop()
    assert session.told[-1] == ("MONITOR", "-", "Anna")


def test_watching_is_bounded_by_the_server_and_survives_its_loss() -> None:
    """No more nicks are asked for than the server has room for, in lines that fit; a new connection asks again."""
    watch, first, second = Watch(), Monitored(), Monitored()
    assert not watch.add("early")
    watch.opened(first, "3", fold_rfc1459)
    assert first.told == [("MONITOR", "+", "early")]
    assert watch.add("Bob[") and watch.add("eve") and not watch.add("late")
    assert "bob{" in watch and "late" not in watch
    watch.handlers()["734"](parse(b":s 734 relay 2 eve :Monitor list is full."))
    assert "eve" not in watch
    watch.closed()
    assert "Bob[" not in watch
    watch.opened(second, "", fold_rfc1459)
    assert second.told == [("MONITOR", "+", "early,Bob[,eve,late")]
    for number in range(200):
        watch.add(f"somebody{number}")
    third = Monitored()
    watch.opened(third, "", fold_rfc1459)
    assert len(third.told) > 3 and all(len(line[2]) <= 400 for line in third.told)
    for number in range(2000):
        watch.add(f"more{number}")
    assert len(watch._nicks) == 1000
    watch.opened(third, None, fold_rfc1459)
    assert "eve" not in watch


async def test_admins_are_told_what_a_line_does(rig: StartRig, port: int) -> None:
    """`raw` sends a line over the admin's own connection and tells the answer; what chats are for is refused."""
    adapter = await rig(port)
    with pytest.raises(NotConnectedError):
        await run(adapter, "raw", line="VERSION")
    puppet = await adapter.puppet(ANNA, name="Anna")
    assert {one.name: one.level for one in adapter.connector.commands()}["raw"] is CommandLevel.ADMIN
    bob = await adapter.witness("bob", "#a")
    bob.privmsg("#a", "not an answer")
    assert (await run(adapter, "raw", line="/ison bob nobody")).split()[:2] == ["303", "bob"]
    assert "Unknown command" in await run(adapter, "raw", line="FROBNICATE now")
    for bad in ("PRIVMSG bob :hello", "JOIN #secret", "QUIT", "", ":"):
        with pytest.raises(RejectedError):
            await run(adapter, "raw", line=bad)
    await run(adapter, "raw", line="ISON bob\r\nQUIT")  # the bridge's commands take no such text; here it is cut
    await adapter.say(puppet, "still here")
    await bob.wait_text("still here")


# Accounts


async def test_a_password_is_tried_before_it_is_kept(rig: StartRig, serve: StartServer) -> None:
    """A wrong password is refused in the server's words and asked again; a right one becomes a login of the user."""
    server = await serve(accounts={"Anna": "right"})
    adapter = await rig(server.port)
    assert isinstance(adapter.connector, LogsIn) and adapter.connector.meta.login_flows
    process = adapter.connector.login(ANNA, logins.PASSWORD)
    asked = await process.start()
    assert isinstance(asked, AskUser) and [one.id for one in asked.fields] == ["account", "password"]
    with pytest.raises(RejectedError, match="does not take it"):
        await process.submit({"account": "Anna", "password": "wrong"})
    for account, password in (("", "x"), ("a b", "x"), ("Anna", ""), ("Anna", "a\x00b"), ("Anna", "x" * 999)):
        with pytest.raises(RejectedError):
            await process.submit({"account": account, "password": password})
    done = await process.submit({"account": "Anna", "password": "right"})
    assert isinstance(done, Complete) and (done.login, done.name) == (ANNA, "Anna")
    await process.cancel()
    login = Login(LoginId(done.login), ANNA, done.name, settings=done.settings, secrets=done.secrets)
    client = adapter.connector.client(login, adapter.inbox)
    adapter.puppets[ANNA] = client  # type: ignore[assignment]
    adapter.host.rooms.inside = {"#a": frozenset({ANNA})}
    await client.connect(None)
    puppet: Any = client
    with pytest.raises(NotConnectedError):
        await puppet.prepare(ChatId("#a"))  # not relayed while its own connection is on its way
    await eventually(lambda: puppet.ready(ChatId("#a")))
    assert (puppet.persona.account, puppet.persona.nick) == ("Anna", "Anna")
    assert "logged in to the account Anna" in await run(adapter, "identity")
    bob = await adapter.witness("Bob", "#a")
    assert "is logged in as Anna" in await run(adapter, "whois", nick="Anna")
    assert await run(adapter, "whois", nick="nobody") == "Nobody is called nobody there."
    await bob.sync()


async def test_a_login_that_is_refused_later_is_told(rig: StartRig, serve: StartServer) -> None:
    """When the server does not take a stored password any more its user is told, and nobody speaks without it."""
    server = await serve(accounts={"Anna": "new"})
    adapter = await rig(server.port)
    login = Login(LoginId(ANNA), ANNA, "Anna", settings={"account": "Anna"}, secrets={"password": "old"})
    client = adapter.connector.client(login, adapter.inbox)
    adapter.puppets[ANNA] = client  # type: ignore[assignment]
    await client.connect(None)
    state = await adapter.inbox.status(LoginStatus.BAD_CREDENTIALS, ANNA)
    assert "SASL" in state.reason


async def test_without_sasl_the_password_goes_to_the_service(rig: StartRig, serve: StartServer) -> None:
    """Where the server has no SASL NickServ is told the password, and channels wait until it has answered."""
    server = await serve(capabilities=frozenset())
    adapter = await rig(server.port, logins={"wait": 3600})
    nickserv = await adapter.witness("NickServ")
    login = Login(LoginId(ANNA), ANNA, "Anna", settings={"account": "Anna"}, secrets={"password": "secret"})
    client = adapter.connector.client(login, adapter.inbox)
    adapter.puppets[ANNA] = client  # type: ignore[assignment]
    adapter.host.rooms.inside = {"#a": frozenset({ANNA})}
    await client.connect(None)
    told = await nickserv.wait_for(lambda line: line.command == "PRIVMSG")
    assert told.text == "IDENTIFY Anna secret"
    assert not client.ready(ChatId("#a"))  # type: ignore[attr-defined]
    nickserv.raw(f"NOTICE {told.nick} :You are now identified")
    await eventually(lambda: client.ready(ChatId("#a")))  # type: ignore[attr-defined]


def test_passwords_are_not_said_in_the_clear() -> None:
    """Without TLS only proofs are given (SCRAM), no passwords and no certificates; a certificate comes first."""
    settings = {"account": "anna"}
    ways = logins.mechanisms({"password": "x"}, settings, secure=False)
    assert [way.name for way in ways] == ["SCRAM-SHA-512", "SCRAM-SHA-256"]
    ways = logins.mechanisms({"password": "x", "certificate": "pem"}, settings, secure=True)
    assert [way.name for way in ways] == ["EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]
    assert logins.mechanisms({}, {}, secure=True) == []
    assert logins.mechanisms({"certificate": "pem"}, settings, secure=False) == []


async def test_a_certificate_is_made_and_shown() -> None:
    """The flow makes a certificate whose key stays here, and shows the digests that services ask for."""
    tried: list[tuple[dict[str, str], dict[str, str]]] = []

    async def attempt(settings: Any, secrets: Any) -> str:
        tried.append((settings, secrets))
        return "Anna"

    process = logins.AccountLogin(ANNA, logins.CERTIFICATE, attempt)
    asked = await process.start()
    assert isinstance(asked, AskUser) and [one.id for one in asked.fields] == ["account"]
    done = await process.submit({"account": "anna"})
    assert isinstance(done, Complete) and done.settings == {"account": "Anna"}
    pem = done.secrets["certificate"]
    assert "PRIVATE KEY" in pem and "PRIVATE" not in asked.text and "PRIVATE" not in repr(done)
    shown_digests = logins.fingerprints(pem)
    assert all(digest in asked.text for digest in shown_digests.values())
    assert ANNA not in pem and tried[0][1] == done.secrets
    with pytest.raises(RejectedError):
        await process.wait()


def test_a_login_is_made_when_sasl_comes_later() -> None:
    """When the server offers SASL again (cap-notify) whoever is not logged in is; each end is told once."""
    caps = CapNegotiation(("sasl",))
    sent: list[bytes] = []
    ended: list[tuple[bool, str]] = []
    late = LateLogin(caps, lambda: [Plain("anna", "pw")], sent.append, lambda *how: ended.append(how))
    assert not late.begin()
    for answer in caps.receive(parse(b":s CAP anna LS :")):
        raise AssertionError(answer)
    (request,) = caps.receive(parse(b":s CAP anna NEW :sasl=PLAIN"))
    assert request == b"CAP REQ sasl\r\n" and not late.begin()
    caps.receive(parse(b":s CAP anna ACK :sasl"))
    assert late.begin() and late.trying and sent == [b"AUTHENTICATE PLAIN\r\n"]
    late.receive(parse(b"AUTHENTICATE +"))
    late.receive(parse(b":s 904 anna :Wrong"))
    assert ended == [(False, "Wrong")] and not late.trying
    assert late.begin()
    late.receive(parse(b"AUTHENTICATE +"))
    late.receive(parse(b":s 900 anna anna!a@h Anna :You are now logged in as Anna"))
    late.receive(parse(b":s 903 anna :ok"))
    assert ended[-1] == (True, "") and late.account == "Anna" and not late.begin()
    late.receive(parse(b":s 901 anna anna!a@h :You are logged out"))
    assert late.account is None


# Commands at each connection


def test_only_services_are_spoken_to() -> None:
    """What users have said at each connection reaches services and nobody else, on one line each."""
    assert read("/msg nickserv IDENTIFY a b c", SERVICES) == ("PRIVMSG", ("NickServ", "IDENTIFY a b c"))
    assert read("PRIVMSG ChanServ :OP #a", SERVICES) == ("PRIVMSG", ("ChanServ", "OP #a"))
    assert read("ChanServ INVITE #a", SERVICES) == ("PRIVMSG", ("ChanServ", "INVITE #a"))
    assert read("ns IDENTIFY x", SERVICES) == ("NS", ("IDENTIFY x",))
    bad = ("PRIVMSG bob :hi", "/msg #a hi", "JOIN #a", "QUIT", "/msg NickServ,bob hi", "OPER a b", "", "NickServ")
    for line in (*bad, "NickServ a\r\nQUIT", "NickServ a\0b", f"NickServ {'x' * 500}"):
        with pytest.raises(RejectedError):
            read(line, SERVICES)
    assert shown("/msg NickServ IDENTIFY anna hunter2") == "/msg NickServ IDENTIFY …"
    assert "hunter2" not in shown("NickServ IDENTIFY hunter2")


async def test_services_are_told_at_each_connection(rig: StartRig, port: int) -> None:
    """A user's commands are said at each connection, listed without what is secret, bounded, sealed, and forgotten."""
    adapter = await rig(port, logins={"wait": 3600})
    chanserv = await adapter.witness("ChanServ")
    await run(adapter, "autocommand", line="ChanServ INVITE #secret hunter2")
    with pytest.raises(RejectedError, match="one of the services"):
        await run(adapter, "autocommand", line="PRIVMSG relay :hello")
    assert await run(adapter, "autocommands") == "ChanServ INVITE #secret …"
    assert list(adapter.host.secrets.values) == ["autocommands/@anna:hs.test"] and not any(
        b"hunter2" in value for value in adapter.host.kv.values.values()
    )
    puppet = await adapter.make_puppet(ANNA, "Anna")
    await puppet.prepare(ChatId("#a"))
    told = await chanserv.wait_for(lambda line: line.command == "PRIVMSG")
    assert told.text == "INVITE #secret hunter2"
    assert not puppet.ready(ChatId("#a"))
    chanserv.raw(f"NOTICE {told.nick} :done")
    await eventually(lambda: puppet.ready(ChatId("#a")))
    again = Autocommands(SERVICES)
    await again.load(adapter.host)  # type: ignore[arg-type]
    assert len(await again.commands(ANNA)) == 1
    for _ in range(9):
        await again.add(ANNA, "ChanServ x")
    with pytest.raises(RejectedError, match="already"):
        await again.add(ANNA, "ChanServ x")
    await run(adapter, "forget-autocommands")
    assert adapter.host.secrets.values == {}
