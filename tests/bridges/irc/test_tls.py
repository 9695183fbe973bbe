"""Which connections show the bot's certificate."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.bridges.irc.rig import StartRig, StartServer


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
