"""Accounts over real sockets: people who log in and out while they talk, and Matrix users whom the bridge logs in."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Membership, RemoteMember
from bridge_core.api.ids import ChatId, LoginId, UserId
from bridge_core.api.login import Complete
from bridge_core.api.network import Login, LoginStatus
from bridges.irc import logins
from bridges.irc.access.contexts import certificate_fingerprint
from bridges.irc.demo.options import CAPABILITIES
from bridges.irc.puppet import Puppet
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually
from tests.servers.certificate import make_certificate

ANNA = UserId("@anna:hs.test")
ACCOUNTS = {"Anna": "secret"}


def logged(adapter: Rig, secrets: dict[str, str]) -> Puppet:
    """The client of a login that Anna made."""
    login = Login(LoginId(ANNA), ANNA, "Anna", settings={"account": "Anna"}, secrets=secrets)
    client = adapter.connector.client(login, adapter.inbox)
    assert isinstance(client, Puppet)
    adapter.puppets[ANNA] = client
    adapter.host.rooms.inside = {"#a": frozenset({ANNA})}
    return client


def changes(adapter: Rig) -> list[tuple[str, Membership]]:
    """Who came and went."""
    events = [event for event in adapter.inbox.events if isinstance(event, RemoteMember)]
    return [(event.member.id, event.membership) for event in events]


@pytest.mark.parametrize("without", [frozenset(), frozenset({"account-notify"}), frozenset({"account-tag"})])
async def test_who_logs_in_and_out_while_talking(rig: StartRig, serve: StartServer, without: frozenset[str]) -> None:
    """Each line is said by whom the server says, whichever of its ways to say so it has; nobody stays in two forms."""
    server = await serve(accounts=ACCOUNTS, capabilities=CAPABILITIES - without)
    adapter = await rig(server.port)
    bob = await adapter.witness("bob", "#a")
    for number, (act, who) in enumerate(
        [
            (lambda: server.log_in("bob", "Robert"), "=robert"),
            (lambda: bob.raw("NICK bobby"), "=robert"),
            (lambda: server.log_out("bobby"), "bobby"),
            (lambda: server.log_in("bobby", "Other"), "=other"),
        ]
    ):
        act()
        await bob.sync()
        bob.privmsg("#a", f"line {number}")
        assert (await adapter.inbox.text(f"line {number}")).sender.id == who
    here: set[str] = set()
    for person, membership in changes(adapter):
        (here.add if membership is Membership.JOIN else here.discard)(person)
    assert here == {"=other"}


async def test_hosts_that_change_are_known(rig: StartRig, serve: StartServer) -> None:
    """After CHGHOST the new host counts: bans are compared with it."""
    server = await serve()
    adapter = await rig(server.port)
    await adapter.witness("bob", "#a")
    server.set_host("bob", "robert", "cloak.example")
    roster = adapter.observer._state.roster
    await eventually(lambda: (one := roster.get("bob")) is not None and one.host == "cloak.example")
    person = roster.get("bob")
    assert person is not None and person.user == "robert"


async def test_a_user_is_logged_in_when_sasl_comes_back(rig: StartRig, serve: StartServer) -> None:
    """A connection made while the services were away is logged in as soon as the server offers SASL again."""
    server = await serve(accounts=ACCOUNTS, capabilities=CAPABILITIES - {"sasl"})
    adapter = await rig(server.port, logins={"nickserv": None, "wait": 0.05})
    puppet = logged(adapter, {"password": "secret"})
    await puppet.connect(None)
    await eventually(lambda: puppet.ready(ChatId("#a")))
    assert puppet.persona.account is None
    server.set_capabilities(CAPABILITIES)
    await eventually(lambda: puppet.persona.account == "Anna")
    assert server.client("Anna").account == "Anna"


async def test_nickserv_is_told_where_there_is_no_sasl(rig: StartRig, serve: StartServer) -> None:
    """With services and without SASL the user is logged in by NickServ, before the channels are joined."""
    server = await serve(accounts=ACCOUNTS, capabilities=CAPABILITIES - {"sasl"}, channel_modes="ntr")
    adapter = await rig(server.port, "#b", logins={"wait": 3600})
    adapter.host.rooms.inside = {}
    puppet = logged(adapter, {"password": "secret"})
    adapter.host.rooms.inside = {"#b": frozenset({ANNA})}
    await puppet.connect(None)
    await eventually(lambda: puppet.persona.account == "Anna")
    await eventually(lambda: puppet.ready(ChatId("#b")))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
async def test_each_way_to_prove_a_password(rig: StartRig, serve: StartServer, mechanism: str) -> None:
    """Whatever the server takes of SCRAM and PLAIN: the right password is taken, a wrong one refused."""
    server = await serve(accounts=ACCOUNTS, sasl_mechanisms=(mechanism,))
    adapter = await rig(server.port)
    process = adapter.connector.login(ANNA, logins.PASSWORD)
    await process.start()
    with pytest.raises(RejectedError, match="does not take it"):
        await process.submit({"account": "Anna", "password": "wrong"})
    done = await process.submit({"account": "Anna", "password": "secret"})
    assert isinstance(done, Complete) and done.settings == {"account": "Anna"}


async def test_a_server_that_does_not_know_the_password_is_not_believed(rig: StartRig, serve: StartServer) -> None:
    """SCRAM works both ways: a server that only says yes has proved nothing, and gets no login."""
    server = await serve(accounts=ACCOUNTS, sasl_mechanisms=("SCRAM-SHA-256",))
    server.faults.wrong_signature = True
    adapter = await rig(server.port)
    process = adapter.connector.login(ANNA, logins.PASSWORD)
    await process.start()
    with pytest.raises(RejectedError, match="prove"):
        await process.submit({"account": "Anna", "password": "secret"})


async def test_a_certificate_logs_in(rig: StartRig, serve: StartServer, tmp_path: Path) -> None:
    """A certificate that the account knows logs in (EXTERNAL); before that it is refused, and may be tried again."""
    files = await asyncio.to_thread(make_certificate, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    context.verify_mode = ssl.CERT_OPTIONAL
    known: dict[str, str] = {}
    server = await serve(accounts=ACCOUNTS, sasl_mechanisms=("EXTERNAL",), certificates=known, tls_port=0, tls=context)
    adapter = await rig(server.tls_port, tls=True, tls_ca=str(files.authority))
    process: Any = adapter.connector.login(ANNA, logins.CERTIFICATE)
    await process.start()
    pem = process._certificate
    context.load_verify_locations(cadata=pem)
    with pytest.raises(RejectedError):
        await process.submit({"account": "Anna"})
    known[certificate_fingerprint(pem)] = "Anna"
    done = await process.submit({"account": "Anna"})
    assert isinstance(done, Complete)
    puppet = logged(adapter, dict(done.secrets))
    await puppet.connect(None)
    await eventually(lambda: puppet.ready(ChatId("#a")))
    assert puppet.persona.account == "Anna"


async def test_the_bot_logs_in_when_sasl_comes_back(rig: StartRig, serve: StartServer) -> None:
    """Where its account is not required the bot is there without it, and logs in once it can."""
    server = await serve(accounts={"bot": "secret"}, capabilities=CAPABILITIES - {"sasl"})
    sasl = {"user": "bot", "password": "secret", "required": False}
    adapter = await rig(server.port, sasl=sasl)
    await adapter.relay("here already")
    assert server.client("relay").account == ""
    server.set_capabilities(CAPABILITIES)
    await eventually(lambda: server.client("relay").account == "bot")


async def test_the_bot_tells_services_what_is_configured(rig: StartRig, serve: StartServer) -> None:
    """The bot's lines are sent at each connection, and shown in no log and no error."""
    server = await serve(accounts={"bot": "hunter2"}, capabilities=CAPABILITIES - {"sasl"})
    adapter = await rig(server.port, bot_commands=["PRIVMSG NickServ :IDENTIFY bot hunter2"])
    await eventually(lambda: server.client("relay").account == "bot")
    assert "hunter2" not in repr(adapter.config)
    server.drop("relay")
    await adapter.inbox.status(LoginStatus.CONNECTED, count=2)
    await eventually(lambda: server.client("relay").account == "bot")
    with pytest.raises(ValueError, match="control characters"):
        Rig(1, bot_commands=["PRIVMSG NickServ :x\r\nQUIT"])
