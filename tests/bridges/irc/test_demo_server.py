"""The demo IRC server, seen by the witness over real sockets."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from bridges.irc.demo.options import CAPABILITIES, Flood, Verdict
from bridges.irc.demo.server import read_options
from bridges.irc.demo.witness import WitnessClosedError, WitnessTimeoutError, read_line
from tests.bridges.irc.demo_rig import Connect, Start, numeric


async def test_registration_sends_the_welcome_and_isupport(start: Start, connect: Connect) -> None:
    """A client gets 001 to 005 and 422, and ISUPPORT tells the server's limits."""
    server = await start(nick_length=20, casemapping="ascii")
    anna = await connect(server, "anna")
    commands = [line.command for line in anna.lines]
    assert [c for c in commands if c < "006"][:4] == ["001", "002", "003", "004"]
    assert commands[-1] == "422"
    tokens = {word for line in anna.lines if line.command == "005" for word in line.params[1:-1]}
    assert {"NICKLEN=20", "CASEMAPPING=ascii", "CHANTYPES=#", "PREFIX=(ov)@+", "LINELEN=512"} <= tokens
    assert any(token.startswith("TARGMAX=") for token in tokens)


def test_the_command_line_turns_the_switches() -> None:
    """`--without` takes a capability away and `--set` gives an option its value; what does not exist is refused."""
    options = read_options(
        [
            *("--without", "draft/multiline", "--set", "monitor=null", "--set", 'client_tag_deny=["*"]'),
            *("--set", 'accounts={"anna": "pw"}', "--set", 'flood={"burst": 3}'),
        ]
    )
    assert options.capabilities == CAPABILITIES - {"draft/multiline"}
    assert (options.monitor, options.client_tag_deny, options.accounts) == (None, ("*",), {"anna": "pw"})
    assert options.flood == Flood(burst=3)
    for wrong in (["--without", "none"], ["--set", "none=1"], ["--set", "history=x"], ["--set", "host=1"]):
        with pytest.raises(SystemExit):
            read_options(wrong)


async def test_capabilities_can_be_switched_off(start: Start, connect: Connect) -> None:
    """What the options leave out is neither offered nor granted; sasl needs accounts."""
    server = await start(capabilities=CAPABILITIES - {"echo-message"})
    anna = await connect(server, "anna", "echo-message", "server-time", "sasl")
    assert anna.caps == {"server-time"}
    mark = anna.mark()
    anna.raw("CAP REQ :echo-message")
    refused = await anna.wait_for(lambda r: r.command == "CAP", since=mark)
    assert refused.params[1] == "NAK"


async def test_nick_in_use_is_refused_under_casemapping(start: Start, connect: Connect) -> None:
    """433 answers a nick that differs only by RFC 1459 case."""
    server = await start()
    await connect(server, "anna[]")
    with pytest.raises(WitnessTimeoutError, match="433"):
        await connect(server, "ANNA{}", timeout=0.3)


async def test_sasl_plain_logs_in_and_wrong_password_does_not(start: Start, connect: Connect) -> None:
    """SASL PLAIN is checked against the given accounts; the account shows in tags."""
    server = await start(accounts={"anna": "secret"})
    anna = await connect(server, "anna", sasl=("anna", "secret"))
    bert = await connect(server, "bert", "account-tag", "message-tags")
    await bert.join("#a")
    await anna.join("#a")
    anna.privmsg("#a", "hello")
    seen = await bert.wait_text("hello", "#a")
    assert seen.tags["account"] == "anna"
    with pytest.raises(WitnessTimeoutError, match="904"):
        await connect(server, "mallory", sasl=("anna", "guess"), timeout=0.3)


async def test_message_reaches_each_recipient_in_its_own_form(start: Start, connect: Connect) -> None:
    """Tags go only to those who asked; both carry the same text, and msgid is the same for all."""
    server = await start()
    plain = await connect(server, "plain")
    tagged = await connect(server, "tagged", "message-tags", "server-time", "echo-message")
    other = await connect(server, "other", "message-tags")
    for witness in (plain, tagged, other):
        await witness.join("#a")
    tagged.raw("@+draft/react=x\\s;+typing PRIVMSG #a :grüße")
    at_plain, at_other = await plain.wait_text("grüße"), await other.wait_text("grüße")
    echo = await tagged.wait_text("grüße")
    assert at_plain.tags == {}
    assert at_other.tags["+draft/react"] == "x "
    assert at_other.tags["msgid"] == echo.tags["msgid"]
    assert "time" in echo.tags
    assert "time" not in at_other.tags


async def test_labels_are_answered_by_echo_ack_and_batch(start: Start, connect: Connect) -> None:
    """One answer line carries the label, none gives ACK, several come as a batch."""
    server = await start()
    anna = await connect(server, "anna", "labeled-response", "batch", "echo-message", "message-tags")
    await anna.join("#a")
    anna.raw("@label=1 PRIVMSG #a :hi")
    assert (await anna.wait_text("hi")).tags["label"] == "1"
    anna.raw("@label=2 PONG x")
    assert (await anna.wait_for(numeric("ACK"))).tags["label"] == "2"
    anna.raw("@label=3 WHOIS anna")
    opening = await anna.wait_for(numeric("BATCH"))
    closing = await anna.wait_for(lambda r: r.command == "BATCH" and r.params[0].startswith("-"))
    assert opening.tags["label"] == "3"
    name = opening.params[0][1:]
    assert closing.params[0] == "-" + name
    assert (await anna.wait_for(numeric("318"))).tags["batch"] == name


async def test_lines_are_cut_to_the_limit_after_the_prefix_is_added(start: Start, connect: Connect) -> None:
    """A recipient never sees more than 512 bytes with the line end, as on a real server."""
    server = await start()
    anna, bert = await connect(server, "anna"), await connect(server, "bert")
    await anna.join("#a")
    await bert.join("#a")
    anna.privmsg("#a", "x" * 490)
    seen = await bert.wait_text("xxx")
    assert len(seen.raw) == 510
    assert len(seen.text) < 490


async def test_channel_rules_are_enforced_with_their_numerics(start: Start, connect: Connect) -> None:
    """403, 404, 442, 471, 473, 474, 475, 482 answer what a channel does not allow."""
    server = await start()
    op, guest = await connect(server, "op"), await connect(server, "guest")
    await op.join("#a")
    guest.privmsg("#none", "x")
    await guest.wait_for(numeric("403"))
    guest.privmsg("#a", "x")
    await guest.wait_for(numeric("404"))
    guest.part("#a")
    await guest.wait_for(numeric("442"))
    for modes, code in (("+i", "473"), ("-i+k key", "475"), ("-k+l key 1", "471"), ("-l+b guest", "474")):
        op.raw(f"MODE #a {modes}")
        await op.sync()
        guest.raw("JOIN #a")
        await guest.wait_for(numeric(code))
    op.raw("MODE #a -b guest!*@*")
    await op.sync()
    await guest.join("#a")
    guest.raw("KICK #a op")
    await guest.wait_for(numeric("482"))
    op.raw("MODE #a +mv guest")
    await op.sync()
    guest.privmsg("#a", "voiced")
    await op.wait_text("voiced")
    op.raw("KICK #a guest :out")
    kicked = await guest.wait_for(numeric("KICK"))
    assert kicked.params == ("#a", "guest", "out")


async def test_names_carry_prefixes_and_hosts_as_asked(start: Start, connect: Connect) -> None:
    """multi-prefix and userhost-in-names change NAMES; no-implicit-names leaves it out of JOIN."""
    server = await start()
    anna = await connect(server, "anna")
    await anna.join("#a")
    anna.raw("MODE #a +v anna")
    await anna.sync()
    bert = await connect(server, "bert", "multi-prefix", "userhost-in-names", "no-implicit-names")
    await bert.join("#a")
    await bert.sync()
    assert not any(line.command == "353" for line in bert.lines)
    bert.raw("NAMES #a")
    names = (await bert.wait_for(numeric("353"))).text.split()
    assert names == ["@+anna!~anna@127.0.0.1", "bert!~bert@127.0.0.1"]


async def test_names_can_be_left_out_under_a_drafts_name(start: Start, connect: Connect) -> None:
    """Bouncers offer no-implicit-names as a draft: NAMES is left out of JOIN by that name too."""
    server = await start(capabilities=frozenset({"draft/no-implicit-names"}))
    anna = await connect(server, "anna", "no-implicit-names", "draft/no-implicit-names")
    assert anna.caps == {"draft/no-implicit-names"}
    await anna.join("#a")
    await anna.sync()
    assert not any(line.command == "353" for line in anna.lines)


async def test_members_see_nick_away_name_host_and_quit(start: Start, connect: Connect) -> None:
    """NICK, AWAY, SETNAME, CHGHOST, extended JOIN and QUIT reach those who share a channel."""
    server = await start()
    caps = ("away-notify", "setname", "chghost", "extended-join")
    watcher, anna = await connect(server, "watcher", *caps), await connect(server, "anna", "setname")
    await watcher.join("#a")
    await anna.join("#a")
    assert (await watcher.wait_for(lambda r: r.command == "JOIN" and r.nick == "anna")).params == (
        "#a",
        "*",
        "witness",
    )
    anna.raw("NICK anne")
    assert (await watcher.wait_for(numeric("NICK"))).text == "anne"
    anna.raw("AWAY :gone")
    assert (await watcher.wait_for(numeric("AWAY"))).text == "gone"
    anna.raw("SETNAME :Anne B.")
    assert (await watcher.wait_for(numeric("SETNAME"))).text == "Anne B."
    await anna.sync()
    assert anna.nick == "anne"
    server.set_host("anne", "u", "cloak.example")
    assert (await watcher.wait_for(numeric("CHGHOST"))).params == ("u", "cloak.example")
    await anna.quit("done")
    quitting = await watcher.wait_for(numeric("QUIT"))
    assert (quitting.prefix, quitting.text) == ("anne!u@cloak.example", "Quit: done")


async def test_a_capability_can_come_and_go(start: Start, connect: Connect) -> None:
    """cap-notify tells of new and withdrawn capabilities."""
    server = await start(capabilities=CAPABILITIES - {"setname"})
    anna = await connect(server, "anna", "server-time")
    server.set_capabilities(server.world.capabilities - {"server-time"} | {"setname"})
    new = await anna.wait_for(lambda r: r.command == "CAP" and r.params[1] == "NEW")
    deleted = await anna.wait_for(lambda r: r.command == "CAP" and r.params[1] == "DEL")
    assert (new.text, deleted.text) == ("setname", "server-time")


async def test_a_slow_reader_is_disconnected(start: Start, connect: Connect) -> None:
    """A client that leaves its lines unread past the send queue is cut off; the others see why."""
    server = await start(send_queue=65536)
    sender = await connect(server, "sender")
    await sender.join("#a")
    assert server.port is not None
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"NICK slow\r\nUSER slow 0 * :slow\r\nJOIN #a\r\n")
    await sender.wait_for(lambda r: r.command == "JOIN" and r.nick == "slow")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    gone = asyncio.ensure_future(sender.wait_for(lambda r: r.command == "QUIT" and r.nick == "slow", timeout=60))
    while not gone.done():
        for _ in range(2000):
            sender.privmsg("#a", "y" * 400)
        await sender.sync(30)
    assert (await gone).text == "SendQ exceeded"
    writer.close()


async def test_faults_refuse_drop_swallow_and_stall(start: Start, connect: Connect) -> None:
    """Each ordered fault does what it says, and ends when it is taken back."""
    server = await start()
    anna, bert = await connect(server, "anna"), await connect(server, "bert")
    await anna.join("#a")
    await bert.join("#a")
    server.faults.refuse_connections = True
    with pytest.raises(WitnessClosedError):
        await connect(server, "carl", timeout=2)
    server.faults.refuse_connections = False
    server.faults.on_line = lambda nick, command, params: Verdict.SWALLOW if params[-1:] == ["lost"] else Verdict.PASS
    anna.privmsg("#a", "lost")
    anna.privmsg("#a", "kept")
    await bert.wait_text("kept")
    assert [line.text for line in bert.messages("#a")] == ["kept"]
    server.faults.on_line = lambda nick, command, params: Verdict.DROP_AFTER if command == "PRIVMSG" else Verdict.PASS
    anna.privmsg("#a", "last words")
    await bert.wait_text("last words")
    await anna.wait_closed()
    server.faults.on_line = None
    server.stall()
    with pytest.raises(WitnessTimeoutError):
        await bert.sync(0.2)
    server.stall(False)
    await bert.sync()


async def test_delayed_output_keeps_its_order(start: Start, connect: Connect) -> None:
    """A delay holds lines back without reordering them."""
    server = await start()
    anna, bert = await connect(server, "anna"), await connect(server, "bert")
    await anna.join("#a")
    await bert.join("#a")
    server.faults.delay = 0.02
    for number in range(20):
        anna.privmsg("#a", f"n{number}")
        await asyncio.sleep(0)
    await bert.wait_text("n19")
    assert [line.text for line in bert.messages("#a")] == [f"n{number}" for number in range(20)]


async def test_the_server_can_be_restarted_on_its_port(start: Start, connect: Connect) -> None:
    """Stopping ends every connection; a second start listens on the same port."""
    server = await start()
    anna = await connect(server, "anna")
    port = server.port
    await server.stop()
    await anna.wait_closed()
    assert any(line.command == "ERROR" for line in anna.lines)
    await server.start()
    assert server.port == port
    await connect(server, "anna")


async def test_silent_clients_are_pinged_and_then_dropped(start: Start) -> None:
    """A client that answers no PING is disconnected with the reason."""
    server = await start(ping_interval=0.1, ping_timeout=0.1)
    assert server.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"NICK mute\r\nUSER mute 0 * :mute\r\n")
    async with asyncio.timeout(60):
        seen = await reader.read()
    assert b"PING :irc.demo" in seen
    assert b"Ping timeout" in seen
    writer.close()


async def test_tls_works(start: Start, connect: Connect) -> None:
    """A TLS client talks to a plain one."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    server = await start(tls=server_side, tls_port=0)
    anna, bert = await connect(server, "anna", tls=client_side), await connect(server, "bert")
    await anna.join("#a")
    await bert.join("#a")
    anna.action("#a", "waves")
    assert (await bert.wait_text("waves")).text == "\x01ACTION waves\x01"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"@a=1\\s\\\\s;b :n!u@h privmsg #c :\xe9t\xe9", ("n!u@h", "PRIVMSG", ("#c", "été"))),
        (b"PING token", ("", "PING", ("token",))),
        (b":srv 366 me #c :", ("srv", "366", ("me", "#c", ""))),
        (b"", ("", "", ())),
    ],
)
def test_the_witness_reads_any_line(raw: bytes, expected: tuple[str, str, tuple[str, ...]]) -> None:
    """Prefix, command and parameters come out of every form; bytes that are not UTF-8 are read as cp1252."""
    line = read_line(raw, 0.0)
    assert (line.prefix, line.command, line.params) == expected
    if line.tags:
        assert line.tags == {"a": "1 \\s", "b": ""}
