"""InspIRCd with Atheme: who is who there, users whom the bridge logs in, and nicks taken back."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteMembers
from bridge_core.api.ids import ChatId, LoginId, UserId
from bridge_core.api.login import Complete
from bridge_core.api.network import Login
from bridges.irc import logins
from bridges.irc.access.contexts import certificate_fingerprint
from bridges.irc.config.nicks import Nicks
from bridges.irc.demo.witness import Witness
from bridges.irc.puppet import Puppet
from tests.bridges.irc.rig import StartRig, eventually
from tests.servers.atheme import Atheme
from tests.servers.inspircd import InspIRCd

pytestmark = pytest.mark.server

ANNA = UserId("@anna:hs.test")
_PATIENCE = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[InspIRCd]:
    """An IRC server whose services know the accounts Anna and alice, with the password `secret`."""
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    folder.chmod(0o755)
    services = Atheme(folder / "services")
    server = services.irc_server(folder / "ircd")
    server.asks_for_certificates = True
    try:
        await server.start()
        await services.start()
        for account in ("Anna", "alice"):
            witness = await Witness.connect(server.host, server.port, account, caps=("message-tags", "account-tag"))
            witness.raw(f"PRIVMSG NickServ :REGISTER secret {account}@x.test")
            await witness.wait_for(lambda line: line.command == "900", timeout=_PATIENCE)
            await witness.close()
        yield server
    finally:
        services.kill()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_person_keeps_their_ghost(served: InspIRCd, rig: StartRig) -> None:
    """Listed, heard and renamed: a person with an account is one ghost, and who takes the nick is another."""
    alice = await Witness.connect(served.host, served.port, "al", sasl=("alice", "secret"))
    await alice.join("#who")
    adapter = await rig(served.port, "#who")
    adapter.witnesses.append(alice)

    def listed() -> list[str]:
        lists = [event for event in adapter.inbox.events if isinstance(event, RemoteMembers)]
        return [member.id for member in lists[-1].members] if lists else []

    await eventually(lambda: listed() == ["=alice"], _PATIENCE)
    alice.raw("NICK elsewhere")
    alice.raw("PRIVMSG #who :still me")
    said = await adapter.inbox.text("still me", _PATIENCE)
    assert (said.sender.id, said.sender.name) == ("=alice", "elsewhere")
    mallory = await adapter.witness("al", "#who")
    mallory.raw("PRIVMSG #who :I am alice")
    assert (await adapter.inbox.text("I am alice", _PATIENCE)).sender.id == "al"


async def test_a_user_logs_in_by_sasl(served: InspIRCd, rig: StartRig) -> None:
    """A wrong password is refused in the services' words; a right one logs in at this and at each later connection."""
    adapter = await rig(served.port, "#login")
    process = adapter.connector.login(ANNA, logins.PASSWORD)
    await process.start()
    with pytest.raises(RejectedError, match="does not take it"):
        await process.submit({"account": "Anna", "password": "wrong"})
    done = await process.submit({"account": "Anna", "password": "secret"})
    assert isinstance(done, Complete)
    login = Login(LoginId(done.login), ANNA, done.name, settings=done.settings, secrets=done.secrets)
    puppet = adapter.connector.client(login, adapter.inbox)
    assert isinstance(puppet, Puppet)
    adapter.puppets[ANNA] = puppet
    adapter.host.rooms.inside = {"#login": frozenset({ANNA})}
    await puppet.connect(None)
    await eventually(lambda: puppet.ready(ChatId("#login")), _PATIENCE)
    assert (puppet.persona.account, puppet.persona.nick) == ("Anna", "Anna")
    found = await puppet.persona.whois("Anna")
    assert found is not None and found.account == "Anna"


async def test_a_users_certificate_logs_in(served: InspIRCd, rig: StartRig) -> None:
    """SASL EXTERNAL over TLS: refused until the account knows the certificate, then it alone logs its user in."""
    adapter = await rig(served.tls_port, "#cert", tls=True, tls_ca=str(served.certificate.authority))
    adapter.port = served.port
    process: Any = adapter.connector.login(ANNA, logins.CERTIFICATE)
    await process.start()
    with pytest.raises(RejectedError, match="does not take it"):
        await process.submit({"account": "Anna"})
    owner = await adapter.witness("owner")
    owner.raw("PRIVMSG NickServ :IDENTIFY Anna secret")
    await owner.wait_for(lambda line: line.command == "900", timeout=_PATIENCE)
    owner.raw(f"PRIVMSG NickServ :CERT ADD {certificate_fingerprint(process._certificate)}")
    await owner.wait_text("Added fingerprint", timeout=_PATIENCE)
    done = await process.submit({"account": "Anna"})
    assert isinstance(done, Complete)
    assert "password" not in done.secrets
    login = Login(LoginId(done.login), ANNA, done.name, settings=done.settings, secrets=done.secrets)
    puppet = adapter.connector.client(login, adapter.inbox)
    assert isinstance(puppet, Puppet)
    adapter.puppets[ANNA] = puppet
    adapter.host.rooms.inside = {"#cert": frozenset({ANNA})}
    await puppet.connect(None)
    await eventually(lambda: puppet.ready(ChatId("#cert")), _PATIENCE)
    assert puppet.persona.account == "Anna"
    stranger = await adapter.puppet("@ben:hs.test", "#cert", name="Ben")
    assert stranger.persona.account is None


async def test_a_nick_is_taken_back_by_monitor(served: InspIRCd, rig: StartRig) -> None:
    """The server says when the nick is free, long before it would have been tried again."""
    adapter = await rig(served.port, "#nick", nicks=Nicks(regain_min=3600, regain_max=3600))
    holder = await adapter.witness("Berta")
    puppet = await adapter.puppet("@berta:hs.test", "#nick", name="Berta")
    assert puppet.persona.nick == "Berta_"
    await eventually(lambda: adapter.observer._state.watch.mask("Berta") is not None, _PATIENCE)
    await holder.quit("bye")
    await eventually(lambda: puppet.persona.nick == "Berta", _PATIENCE)
