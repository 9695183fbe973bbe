"""The try that `check` makes: whether the servers are there and take the bot's login."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.ids import NetworkId
from bridge_core.api.info import Advice
from bridge_core.api.optional import Rehearses
from bridge_core.demo.ports import free_port
from bridges.irc.config import IrcConfig
from bridges.irc.connector import IrcConnector
from bridges.irc.demo.options import CAPABILITIES
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.conftest import StartServer
from tests.servers.certificate import make_certificate
from tests.servers.inspircd import InspIRCd


async def wrong(port: int | None, **settings: Any) -> list[Advice]:
    """What a network with these settings says of itself."""
    connector = IrcConnector(
        NetworkId("irc"), IrcConfig(**{"server": "127.0.0.1", "port": port, "tls": False, "nick": "bot", **settings})
    )
    assert isinstance(connector, Rehearses)
    return list(await connector.wrong())


async def test_a_server_that_lets_the_bot_in(serve: StartServer) -> None:
    """Nothing is wrong, also while the bot's nick is in use, and nobody saw anybody come."""
    server = await serve(accounts={"bot": "secret"})
    witness = await Witness.connect("127.0.0.1", server.port, "bot")
    assert await wrong(server.port) == []
    assert await wrong(server.port, sasl={"user": "bot", "password": "secret"}) == []
    assert not witness.closed
    await witness.close()


@pytest.mark.parametrize(
    ("capabilities", "required", "words"),
    [
        (CAPABILITIES, True, ["does not take the bot's login"]),
        (CAPABILITIES - {"sasl"}, True, ["offers no SASL"]),
        (CAPABILITIES - {"sasl"}, False, []),
    ],
)
async def test_a_login_that_is_not_taken(
    serve: StartServer, capabilities: frozenset[str], required: bool, words: list[str]
) -> None:
    """A wrong password and a server without logins are told apart; what is not required is not missed."""
    server = await serve(accounts={"bot": "secret"}, capabilities=capabilities)
    found = await wrong(server.port, sasl={"user": "bot", "password": "other", "required": required})
    assert len(found) == len(words)
    for one, expected in zip(found, words, strict=True):
        assert expected in one.what and "sasl" in one.advice
        assert "other" not in one.what


async def test_each_server_is_tried(serve: StartServer) -> None:
    """What is wrong with a server that stands in for another is found while the first is well."""
    server = await serve()
    closed = free_port()
    (found,) = await wrong(server.port, fallback_servers=[f"127.0.0.1:{closed}"])
    assert f"port {closed}" in found.what and "refuses" in found.what


async def test_a_port_that_speaks_something_else(serve: StartServer, tmp_path: Path) -> None:
    """TLS on a plain port, plain text on a TLS port and a certificate of nobody's are said, each with what to do."""
    files = await asyncio.to_thread(make_certificate, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    server = await serve(tls_port=0, tls=context)
    (found,) = await wrong(server.port, tls=True, connect_timeout=3)
    assert "tls" in found.advice.lower()
    (found,) = await wrong(server.tls_port, connect_timeout=3)
    assert found.advice
    (found,) = await wrong(server.tls_port, tls=True)
    assert "certificate" in found.what and "tls_fingerprint" in found.advice
    assert await wrong(server.tls_port, tls=True, tls_ca=str(files.authority)) == []


@pytest.mark.server
async def test_a_real_server(inspircd: InspIRCd) -> None:
    """InspIRCd answers before anybody has a nick."""
    assert await wrong(inspircd.port) == []
