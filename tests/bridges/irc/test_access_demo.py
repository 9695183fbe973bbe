"""Ways to a network on the demo's server, which shows what reached it."""

import asyncio
import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.ids import ChatId
from bridge_core.api.network import LoginStatus
from bridge_core.demo.ports import free_port
from tests.bridges.irc.rig import StartRig, StartServer, eventually
from tests.bridges.irc.test_tls import Pki, known, with_certificate

PREFIX = {"prefix": "2001:db8:1::/48", "block": 64}


@pytest.mark.parametrize("secured", [False, True])
async def test_a_gateway_that_is_believed(rig: StartRig, serve: StartServer, tmp_path: Path, secured: bool) -> None:
    """WEBIRC: the server takes address, security and certificate from us; the bot stays where it is."""
    pki = Pki(tmp_path)
    pem = pki.certificate("ben.test")
    server = await serve(tls_port=0, tls=pki.context, webirc_password="hunter2", **known(pem))
    adapter = await rig(
        server.tls_port if secured else server.port,
        tls=secured,
        tls_ca=pki.ca,
        addresses=PREFIX,
        webirc={"password": "hunter2"},
    )
    await adapter.puppet("@anna:hs.test")
    if secured:
        await with_certificate(adapter, "@ben:hs.test", pem)
    else:
        await adapter.puppet("@ben:hs.test")
    anna, ben, relay = (server.client(nick) for nick in ("anna", "ben", "relay"))
    assert (anna.ip, ben.ip) == ("2001:db8:1:1::1", "2001:db8:1:1::2")
    assert anna.host == anna.ip
    assert anna.secure is secured
    assert ("certfp-sha-256" in ben.webirc, "certfp-sha-256" in anna.webirc) == (secured, False)
    assert (relay.ip, relay.webirc) == ("127.0.0.1", {})


async def test_a_gateway_that_is_not_believed(rig: StartRig, serve: StartServer) -> None:
    """A wrong password is the admin's trouble: no user is connected in another way."""
    server = await serve(webirc_password="other")
    adapter = await rig(server.port, addresses=PREFIX, webirc={"password": "hunter2"})
    anna = await adapter.make_puppet("@anna:hs.test")
    await anna.connect(None)
    state = await adapter.inbox.status(LoginStatus.DISCONNECTED, "@anna:hs.test")
    assert "WebIRC" in state.reason or "WEBIRC" in state.reason
    with pytest.raises(KeyError):
        server.client("anna")


@pytest.mark.parametrize("more", [{}, {"addresses": {"prefix": "127.16.0.0/12"}}])
async def test_names_that_are_vouched_for(rig: StartRig, serve: StartServer, more: dict[str, Any]) -> None:
    """The server's question at each connection is answered in time: no name begins with a tilde."""
    port = free_port()
    server = await serve(ident_port=port)
    adapter = await rig(server.port, ident={"port": port}, username="bridge", **more)
    await asyncio.gather(*(adapter.puppet(f"@anna{number}:hs.test") for number in range(10)))
    names = {client.user for client in server.world.clients.values()}
    assert names == {"bridge", *(f"anna{number}" for number in range(10))}


async def test_tls_that_is_demanded(rig: StartRig, serve: StartServer, tmp_path: Path) -> None:
    """STS: the bot leaves the plain port at once, users never try it."""
    pki = Pki(tmp_path)
    server = await serve(tls_port=0, tls=pki.context, sts_duration=3600)
    adapter = await rig(server.port, tls_ca=pki.ca)
    await adapter.puppet("@anna:hs.test")
    assert server.client("relay").secure and server.client("anna").secure
    await eventually(lambda: "sts/127.0.0.1" in adapter.host.kv.values)


async def test_a_server_that_is_full(rig: StartRig, serve: StartServer) -> None:
    """Who finds a server full is on another one of the network next."""
    full, other = await serve(), await serve()
    adapter = await rig(full.port, fallback_servers=[f"127.0.0.1:{other.port}"])
    full.faults.server_limit = 1
    anna = await adapter.make_puppet("@anna:hs.test")
    await anna.prepare(ChatId("#a"))
    await eventually(lambda: other.world.find("anna") is not None)
    assert full.world.find("anna") is None
    assert full.client("relay").registered


async def test_one_user_is_one_user_by_certificate(rig: StartRig, serve: StartServer, tmp_path: Path) -> None:
    """A server sees the certificate that a user's login holds."""
    pki = Pki(tmp_path)
    pem = pki.certificate("ben.test")
    server = await serve(tls_port=0, tls=pki.context, **known(pem))
    adapter = await rig(server.tls_port, tls=True, tls_ca=pki.ca)
    await with_certificate(adapter, "@ben:hs.test", pem)
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index(ssl.PEM_HEADER) : pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)])
    assert server.client("ben").certfp == hashlib.sha256(der).hexdigest()
