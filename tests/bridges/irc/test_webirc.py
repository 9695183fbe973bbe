"""WEBIRC: what a server is told of a user's address, before everything else."""

import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme

from bridges.irc.access.webirc import webirc_line
from bridges.irc.config.webirc import WebIrc
from tests.bridges.irc.fronts import Front, Reader, Writer
from tests.bridges.irc.rig import StartRig, StartServer

SETTINGS = WebIrc(password="hunter2", gateway="gate")


@pytest.mark.parametrize("secured", [False, True])
async def test_the_server_is_told_before_all_else(
    rig: StartRig, serve: StartServer, tmp_path: Path, secured: bool
) -> None:
    """Each user's line is the first of their connection; the bot sends none; `secure` is said over TLS only."""
    firsts: list[bytes] = []

    async def meets(reader: Reader, writer: Writer) -> None:
        firsts.append(await reader.readuntil(b"\r\n"))

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = await serve()
    front = Front(server.port or 0, meets=meets)
    await front.listen(tls=context if secured else None)
    try:
        adapter = await rig(
            front.port,
            tls=secured,
            tls_ca=str(tmp_path / "ca.pem"),
            addresses={"prefix": "2001:db8:1::/48", "block": 64},
            webirc={"password": "hunter2"},
        )
        await adapter.puppet("@anna:one.test")
        await adapter.puppet("@ben:two.test")
        said = b" secure" if secured else b""
        assert firsts == [
            b"CAP LS 302\r\n",
            b"WEBIRC hunter2 matrix 2001:db8:1:1::1 2001:db8:1:1::1%b\r\n" % said,
            b"WEBIRC hunter2 matrix 2001:db8:1:2::1 2001:db8:1:2::1%b\r\n" % said,
        ]
        assert server.client("anna").host == "127.0.0.1"
    finally:
        await front.stop()


def test_an_address_that_begins_with_a_colon_does_not_end_the_line() -> None:
    """It gets a zero in front (IRCv3 webirc)."""
    assert webirc_line(SETTINGS, ip_address("::1:2"), "anna", tls=False) == b"WEBIRC hunter2 gate 0::1:2 0::1:2\r\n"


def test_what_is_said_of_the_user() -> None:
    """The certificate that the user shows, and security that there is."""
    line = webirc_line(SETTINGS, ip_address("192.0.2.1"), "anna", tls=True, fingerprint="ab" * 32)
    assert line == b"WEBIRC hunter2 gate 192.0.2.1 192.0.2.1 :secure certfp-sha-256=" + b"ab" * 32 + b"\r\n"
    bare = webirc_line(SETTINGS, ip_address("192.0.2.1"), "anna", tls=False, fingerprint="ab" * 32)
    assert bare.endswith(b" 192.0.2.1\r\n")
    modest = WebIrc(password="hunter2", secure=False)
    assert webirc_line(modest, ip_address("192.0.2.1"), "anna", tls=True).endswith(b" 192.0.2.1\r\n")
    old = WebIrc(password="hunter2", gateway="$USERNAME")
    assert webirc_line(old, ip_address("192.0.2.1"), "anna", tls=False).startswith(b"WEBIRC hunter2 anna 192")
