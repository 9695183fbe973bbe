"""Which connections show which certificate, and which servers they trust."""

import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from bridge_core.api.ids import LoginId, UserId
from bridge_core.api.network import Login, LoginStatus
from bridges.irc.access.access import CERTIFICATE, Access
from bridges.irc.access.contexts import TlsContexts, certificate_fingerprint
from bridges.irc.config import IrcConfig
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.dialing import ConnectError, ConnectFailure
from bridges.irc.puppet import Puppet
from bridges.irc.transport import Connection
from tests.bridges.irc.rig import FakeHost, Rig, StartRig, StartServer


@pytest.mark.parametrize("shown", [True, False])
async def test_only_the_observer_shows_the_bots_certificate(
    shown: bool, rig: StartRig, serve: StartServer, tmp_path: Path
) -> None:
    """Whoever shows it is logged in as the bot: no user's connection does."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("bot.test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "bot.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    server = await serve(tls_port=0, tls=context)
    certificate = {"tls_certificate": str(tmp_path / "bot.pem")} if shown else {}
    adapter = await rig(server.tls_port, tls=True, tls_ca=str(tmp_path / "ca.pem"), **certificate)
    await adapter.puppet("@anna:hs.test")

    def certificate_of(nick: str) -> Any:
        transport = server.client(nick).link.transport
        assert transport is not None
        return transport.get_extra_info("peercert")

    assert bool(certificate_of("relay")) is shown
    assert not certificate_of("anna")


class Pki:
    """An authority with what a server that asks for certificates needs."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued = self.authority.issue_cert("127.0.0.1")
        issued.configure_cert(self.context)
        self.authority.configure_trust(self.context)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.fingerprint = digest(issued.cert_chain_pems[0].bytes().decode())

    def certificate(self, name: str) -> str:
        """A certificate with its key, as PEM."""
        return self.authority.issue_cert(name).private_key_and_cert_chain_pem.bytes().decode()


def digest(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def shown_by(server: DemoIrcServer, nick: str) -> str | None:
    """The fingerprint of the certificate that a client shows to the server."""
    transport = server.client(nick).link.transport
    assert transport is not None
    found = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return None if found is None else hashlib.sha256(found).hexdigest()


def known(*pems: str) -> dict[str, Any]:
    """Options of a server that logs in who shows one of these certificates."""
    certificates = {certificate_fingerprint(pem): f"account{number}" for number, pem in enumerate(pems)}
    return {
        "accounts": dict.fromkeys(certificates.values(), "password"),
        "certificates": certificates,
        "sasl_mechanisms": ("EXTERNAL",),
    }


async def with_certificate(adapter: Rig, user: str, pem: str) -> None:
    """A puppet whose login holds a certificate."""
    name = user[1:].partition(":")[0]
    login = Login(LoginId(user), UserId(user), name, True, secrets={CERTIFICATE: pem})
    client = adapter.connector.client(login, adapter.inbox)
    assert isinstance(client, Puppet)
    adapter.puppets[user] = client
    await adapter.puppet(user)


async def test_each_user_shows_their_own_certificate(rig: StartRig, serve: StartServer, tmp_path: Path) -> None:
    """CertFP: a user's certificate is shown by their connection and no other; a file of the key is never made."""
    pki = Pki(tmp_path)
    anna, ben = pki.certificate("anna.test"), pki.certificate("ben.test")
    server = await serve(tls_port=0, tls=pki.context, **known(anna, ben))
    adapter = await rig(server.tls_port, tls=True, tls_ca=pki.ca)
    before = {path.name for path in tmp_path.iterdir()}
    await with_certificate(adapter, "@anna:hs.test", anna)
    await with_certificate(adapter, "@ben:hs.test", ben)
    await adapter.puppet("@cara:hs.test")
    assert shown_by(server, "anna") == certificate_fingerprint(anna)
    assert shown_by(server, "ben") == certificate_fingerprint(ben)
    assert shown_by(server, "cara") is shown_by(server, "relay") is None
    assert {path.name for path in tmp_path.iterdir()} == before


async def test_a_users_connection_checks_the_server_too(rig: StartRig, serve: StartServer, tmp_path: Path) -> None:
    """With a certificate of their own a user trusts no more servers than the others: authority or pin."""
    pki = Pki(tmp_path)
    anna = pki.certificate("anna.test")
    server = await serve(tls_port=0, tls=pki.context, **known(anna))
    adapter = await rig(server.tls_port, tls=True, tls_fingerprint=["00" * 32, pki.fingerprint])
    await with_certificate(adapter, "@anna:hs.test", anna)
    await adapter.puppet("@ben:hs.test")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    for settings in ({"tls_ca": str(tmp_path / "other.pem")}, {"tls_fingerprint": "00" * 32}, {}):
        contexts = TlsContexts(IrcConfig(server="127.0.0.1", **settings))
        for made in (await contexts.shared(), await contexts.of_user(pki.certificate("anna.test"))):
            connection = Connection(
                "127.0.0.1", server.tls_port or 0, made, on_lines=lambda lines: None, on_closed=lambda error: None
            )
            with pytest.raises(ConnectError) as caught:
                await connection.open(20)
            assert caught.value.failure is ConnectFailure.CERTIFICATE


@pytest.mark.parametrize("pem", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_a_certificate_that_is_none_is_said(pem: str, rig: StartRig, serve: StartServer, tmp_path: Path) -> None:
    """The user reads that an own certificate cannot be used; nobody connects without it instead."""
    pki = Pki(tmp_path)
    server = await serve(tls_port=0, tls=pki.context)
    adapter = await rig(server.tls_port, tls=True, tls_ca=pki.ca)
    login = Login(LoginId("@anna:hs.test"), UserId("@anna:hs.test"), "anna", secrets={CERTIFICATE: pem})
    client = adapter.connector.client(login, adapter.inbox)
    adapter.puppets["@anna:hs.test"] = client  # type: ignore[assignment]
    await client.connect(None)
    state = await adapter.inbox.status(LoginStatus.BAD_CREDENTIALS, "@anna:hs.test")
    assert "cannot be made" in state.reason
    with pytest.raises(KeyError):
        server.client("anna")


async def test_webirc_tells_of_the_certificate_that_a_user_shows(tmp_path: Path) -> None:
    """The server cannot see more of it than we say, where another program ends TLS."""
    pki = Pki(tmp_path)
    pem = pki.certificate("anna.test")
    access = Access(
        IrcConfig(
            server="127.0.0.1",
            tls_ca=pki.ca,
            addresses={"prefix": "2001:db8::/64"},
            webirc={"password": "secret"},
        )
    )
    await access.start(FakeHost([]))  # type: ignore[arg-type]
    login = Login(LoginId("@anna:hs.test"), UserId("@anna:hs.test"), "anna", secrets={CERTIFICATE: pem})
    approach = await access.approach(login)
    assert approach.preamble is not None
    assert approach.preamble.endswith(b"certfp-sha-256=" + certificate_fingerprint(pem).encode() + b"\r\n")
    assert approach.route.source is None
