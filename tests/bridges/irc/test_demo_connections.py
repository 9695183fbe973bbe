"""How connections of the demo server are made, proven and ended, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from pathlib import Path

import pytest
import trustme

from bridges.irc.demo.ident import read
from bridges.irc.demo.options import CAPABILITIES, Flood
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness, WitnessClosedError
from tests.bridges.irc.demo_rig import Connect, Start, failed, numeric


async def stranger(server: DemoIrcServer) -> Witness:
    """Open a connection that has said nothing."""
    assert server.port is not None
    return Witness(*await asyncio.open_connection("127.0.0.1", server.port))


def register(witness: Witness, nick: str) -> None:
    """Say who one is."""
    witness.raw(f"NICK {nick}")
    witness.raw(f"USER {nick} 0 * :{nick}")


async def last_words(witness: Witness) -> str:
    """Wait for the end and give the text of the ERROR."""
    await witness.wait_closed()
    return next(line.text for line in witness.lines if line.command == "ERROR")


# --- TLS


async def test_sts_points_the_way_up_and_tells_its_duration(start: Start, connect: Connect) -> None:
    """The plain port offers the TLS port, the TLS port a duration; nobody can request it; without TLS it is off."""
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    server = await start(tls=ours, tls_port=0, sts_duration=300)
    plain = await connect(server, "plain", "server-time")
    secure = await connect(server, "secure", "server-time", tls=theirs)

    def offered(witness: Witness) -> set[str]:
        return {word for line in witness.lines if line.command == "CAP" for word in line.text.split()}

    assert f"sts=port={server.tls_port}" in offered(plain)
    assert "sts=duration=300" in offered(secure)
    mark = plain.mark()
    plain.raw("CAP REQ :sts")
    assert (await plain.wait_for(numeric("CAP"), since=mark)).params[1] == "NAK"
    for options in ({}, {"sts_duration": 300}):
        off = await connect(await start(**options), "off", "server-time")
        assert not any(word.startswith("sts") for word in offered(off))


async def test_external_knows_certificates(start: Start, connect: Connect, tmp_path: Path) -> None:
    """SASL EXTERNAL gives the account of the fingerprint; without a known certificate it fails."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(ours)
    ours.verify_mode = ssl.CERT_OPTIONAL
    shown = authority.issue_cert("anna.test")
    der = ssl.PEM_cert_to_DER_cert(shown.cert_chain_pems[0].bytes().decode())
    certificates = {hashlib.sha256(der).hexdigest(): "anna"}
    server = await start(tls=ours, tls_port=0, certificates=certificates, sasl_mechanisms=("EXTERNAL", "PLAIN"))
    for with_certificate, code in ((True, "903"), (False, "904")):
        theirs = ssl.create_default_context()
        authority.configure_trust(theirs)
        if with_certificate:
            shown.configure_cert(theirs)
        anna = await connect(server, f"anna{code}", "sasl", tls=theirs)
        assert any("sasl=EXTERNAL,PLAIN" in line.text.split() for line in anna.lines)
        anna.raw("AUTHENTICATE EXTERNAL")
        anna.raw("AUTHENTICATE +")
        await anna.wait_for(numeric(code))


# --- SCRAM


async def scram(witness: Witness, password: str, digest: str) -> bool:
    """Log in as anna by SCRAM; gives whether the server proved that it knows the password. Stops at a numeric."""
    name, bare = f"SCRAM-SHA-{digest.removeprefix('sha')}", "n=anna,r=clientnonce"
    mark = witness.mark()
    witness.raw(f"AUTHENTICATE {name}")
    await witness.wait_for(lambda r: r.command == "AUTHENTICATE" and r.text == "+", since=mark)
    challenge = await _step(witness, "n,," + bare)
    fields = dict(word.split("=", 1) for word in challenge.split(","))
    assert fields["r"].startswith("clientnonce")
    key = hashlib.pbkdf2_hmac(digest, password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    final = f"c=biws,r={fields['r']}"
    signed = f"{bare},{challenge},{final}".encode()
    client_key = hmac.digest(key, b"Client Key", digest)
    signature = hmac.digest(hashlib.new(digest, client_key).digest(), signed, digest)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    verifier = await _step(witness, f"{final},p={proof}")
    if not verifier:
        return False
    expected = hmac.digest(hmac.digest(key, b"Server Key", digest), signed, digest)
    proven = verifier == "v=" + base64.b64encode(expected).decode()
    witness.raw("AUTHENTICATE +" if proven else "AUTHENTICATE *")
    return proven


async def _step(witness: Witness, text: str) -> str:
    mark = witness.mark()
    witness.raw("AUTHENTICATE " + base64.b64encode(text.encode()).decode())
    answer = await witness.wait_for(lambda r: r.command in ("AUTHENTICATE", "904"), since=mark)
    return base64.b64decode(answer.text).decode() if answer.command == "AUTHENTICATE" else ""


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
async def test_scram_proves_both_sides(start: Start, connect: Connect, digest: str) -> None:
    """The right password logs in and the server proves itself; a wrong one is refused; a fault breaks its proof."""
    server = await start(accounts={"anna": "pa,ss="}, sasl_mechanisms=("SCRAM-SHA-256", "SCRAM-SHA-512"))
    anna = await connect(server, "anna", "sasl")
    assert not await scram(anna, "wrong", digest)
    server.faults.wrong_signature = True
    assert not await scram(anna, "pa,ss=", digest)
    await anna.wait_for(numeric("906"))
    server.faults.wrong_signature = False
    assert await scram(anna, "pa,ss=", digest)
    assert (await anna.wait_for(numeric("900"))).params[2] == "anna"
    await anna.wait_for(numeric("903"))
    mark = anna.mark()
    anna.raw("AUTHENTICATE PLAIN")
    await anna.wait_for(numeric("907"), since=mark)


async def test_login_can_be_refused_by_any_numeric(start: Start, connect: Connect) -> None:
    """The fault answers every login with its numeric; an unknown mechanism is answered with those there are."""
    server = await start(accounts={"anna": "pw"})
    anna = await connect(server, "anna", "sasl")
    server.faults.sasl_answer = 902
    anna.raw("AUTHENTICATE PLAIN")
    anna.raw("AUTHENTICATE " + base64.b64encode(b"\0anna\0pw").decode())
    await anna.wait_for(numeric("902"))
    anna.raw("AUTHENTICATE EXTERNAL")
    assert (await anna.wait_for(numeric("908"))).params[1] == "PLAIN"


# --- who it is


async def test_webirc_says_where_a_connection_comes_from(start: Start, connect: Connect) -> None:
    """With the password host and address are the gateway's word; a plain way to the gateway is not called secure."""
    server = await start(webirc_password="gate")
    anna = await stranger(server)
    anna.raw("WEBIRC gate bridge anna.example 2001:db8::7 :secure certfp-sha-256=abc")
    register(anna, "anna")
    await anna.wait_for(numeric("001"))
    client = server.client("anna")
    assert (client.host, client.ip, client.secure, client.certfp) == ("anna.example", "2001:db8::7", False, "abc")
    assert client.webirc["gateway"] == "bridge"
    bert = await connect(server, "bert")
    bert.raw("WHOIS anna")
    assert (await bert.wait_for(numeric("311"))).params[3] == "anna.example"
    bert.raw("WEBIRC gate bridge late.example 10.0.0.1")
    await bert.wait_for(numeric("462"))


@pytest.mark.parametrize("expected", ["gate", None])
async def test_webirc_with_a_wrong_password_ends_the_connection(start: Start, expected: str | None) -> None:
    """Who may not say where it comes from is not let in, also where there are no gateways."""
    server = await start(webirc_password=expected)
    anna = await stranger(server)
    anna.raw("WEBIRC guess bridge anna.example 10.0.0.1")
    register(anna, "anna")
    assert "WEBIRC" in await last_words(anna)


@pytest.mark.parametrize(("answer", "user"), [("USERID : UNIX : anna7", "anna7"), ("ERROR : NO-USER", "~guest")])
async def test_ident_decides_the_user_name(start: Start, connect: Connect, answer: str, user: str) -> None:
    """The host is asked for the pair of ports; its answer is the user name, and without one it begins with ``~``."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports = (await reader.readline()).decode().strip()
        asked.append(ports)
        writer.write(f"{ports} : {answer}\r\n".encode())
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        server = await start(ident_port=listener.sockets[0].getsockname()[1])
        await connect(server, "guest")
        client = server.client("guest")
        assert client.user == user
        assert asked == [f"{client.address[1]}, {server.port}"]


async def test_registration_waits_for_ident_but_not_for_ever(start: Start, connect: Connect) -> None:
    """A host that does not answer is given up on, and a closed port is no hindrance."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        server = await start(ident_port=port, ident_timeout=0.05)
        await connect(server, "slow")
        assert server.client("slow").user == "~slow"
    server = await start(ident_port=port)
    await connect(server, "closed")
    assert server.client("closed").user == "~closed"


@pytest.mark.parametrize(
    ("answer", "user"),
    [
        ("1, 2 : USERID : UNIX : anna", "anna"),
        ("1,2:USERID:UNIX:anna\r\n", "anna"),
        ("2, 1 : USERID : UNIX : anna", ""),
        ("1, 2 : USERID : UNIX : an na", ""),
        ("1, 2 : ERROR : NO-USER", ""),
        ("", ""),
    ],
)
def test_an_ident_answer_is_believed_when_it_fits(answer: str, user: str) -> None:
    """Other ports, errors and odd names are no answer."""
    assert read(answer, 1, 2) == user


# --- bans and limits


@pytest.mark.parametrize(
    ("kind", "mask", "words", "told"),
    [
        ("K", "*@127.0.0.1", "K-Lined", True),
        ("G", "~bad@*", "G-Lined", True),
        ("X", "*bad*", "Bad user info", False),
        ("Z", "127.*", "Z-Lined", False),
    ],
)
async def test_each_ban_ends_and_refuses_in_its_words(
    start: Start, connect: Connect, kind: str, mask: str, words: str, told: bool
) -> None:
    """Who is here is ended, who comes is refused until the ban is gone; K and G say 465 first."""
    server = await start()
    bad = await connect(server, "bad", real="a bad one")
    server.ban(kind, mask, "abuse")  # type: ignore[arg-type]
    assert words in await last_words(bad)
    assert any(line.command == "465" and "abuse" in line.text for line in bad.lines) is told
    again = await stranger(server)
    register(again, "bad")
    assert words in await last_words(again)
    assert not any(line.command == "001" for line in again.lines)
    server.unban(kind, mask)  # type: ignore[arg-type]
    await connect(server, "bad", real="a bad one")


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"class_limit": 1}, "No more connections allowed in your connection class"),
        ({"host_limit": 1}, "Too many host connections"),
        ({"server_limit": 1}, "This server is full"),
        ({"throttle": (1, 3600.0)}, "Reconnecting too fast"),
    ],
)
async def test_each_limit_refuses_in_its_words(
    start: Start, connect: Connect, limit: dict[str, object], words: str
) -> None:
    """One too many is refused and the others stay; without the limit there is room again."""
    server = await start()
    for name, value in limit.items():
        setattr(server.faults, name, value)
    first = await connect(server, "first")
    second = await stranger(server)
    register(second, "second")
    assert words in await last_words(second)
    await first.sync()
    for name in limit:
        setattr(server.faults, name, None)
    await connect(server, "second")


async def test_too_many_lines_are_an_excess_flood(start: Start, connect: Connect) -> None:
    """Lines over the rate wait in order; with too many waiting the client is ended and the others see why."""
    server = await start(flood=Flood(burst=5, rate=100.0, excess=20))
    anna, bert = await connect(server, "anna"), await connect(server, "bert")
    await bert.join("#a")
    await anna.join("#a")
    for number in range(15):
        anna.privmsg("#a", f"n{number}")
    await bert.wait_text("n14")
    assert [line.text for line in bert.messages("#a")] == [f"n{number}" for number in range(15)]
    for _ in range(60):
        anna.privmsg("#a", "flood")
    assert "Excess Flood" in await last_words(anna)
    assert (await bert.wait_for(numeric("QUIT"))).text == "Excess Flood"


async def test_the_server_password_is_asked(start: Start, connect: Connect) -> None:
    """A wrong server password ends in 464."""
    server = await start(password="open")
    await connect(server, "anna", password="open")
    with pytest.raises(WitnessClosedError):
        await connect(server, "bert", password="shut")


# --- RELAYMSG


async def test_an_operator_relays_under_other_names(start: Start, connect: Connect) -> None:
    """RELAYMSG shows the made-up name; who has the capability sees by whom, the relayer its own echo and label."""
    server = await start()
    relay = await connect(
        server, "relay", "draft/relaymsg", "echo-message", "labeled-response", "batch", "message-tags"
    )
    sees, plain = await connect(server, "sees", "draft/relaymsg", "message-tags"), await connect(server, "plain")
    for witness in (relay, sees, plain):
        await witness.join("#a")
    assert any("draft/relaymsg=/" in line.text.split() for line in relay.lines if line.command == "CAP")
    relay.raw("@label=r;+typing=done RELAYMSG #a anna/m :hello")
    seen = await sees.wait_text("hello", "#a")
    assert (seen.nick, seen.tags["draft/relaymsg"], seen.tags["+typing"]) == ("anna/m", "relay", "done")
    echo = await relay.wait_text("hello", "#a")
    assert (echo.tags["label"], echo.tags["msgid"]) == ("r", seen.tags["msgid"])
    assert (await plain.wait_text("hello", "#a")).tags == {}


async def test_relaymsg_is_refused_with_its_code(start: Start, connect: Connect) -> None:
    """No operator, a name that could be a client's, and no text are refused; the switch takes the command away."""
    server = await start()
    op, guest = await connect(server, "op"), await connect(server, "guest")
    await op.join("#a")
    await guest.join("#a")
    guest.raw("RELAYMSG #a anna/m :x")
    await guest.wait_for(failed("RELAYMSG", "PRIVS_NEEDED"))
    for name in ("anna", "an!na/m", "#a/m"):
        mark = op.mark()
        op.raw(f"RELAYMSG #a {name} :x")
        await op.wait_for(failed("RELAYMSG", "INVALID_NICK"), since=mark)
    op.raw("RELAYMSG #a anna/m :")
    await op.wait_for(failed("RELAYMSG", "BLANK_MSG"))
    op.raw("RELAYMSG #none anna/m :x")
    await op.wait_for(numeric("403"))
    off = await connect(await start(capabilities=CAPABILITIES - {"draft/relaymsg"}), "op")
    off.raw("RELAYMSG #a anna/m :x")
    await off.wait_for(numeric("421"))
