"""Invariant 7: one validating serializer per wire. What strangers write never becomes a line of its own."""

import ast
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge_core.api.ids import ChatId, NetworkId
from bridges.irc.connector import IrcConnector
from bridges.irc.demo.link import Link
from bridges.irc.demo.server import DemoIrcServer
from tests.architecture.source import ROOT, modules, name_of
from tests.harness import Harness
from tests.invariants.scenes import Gates

# Where bytes meet a socket, and where lines are ended.
WIRE = {"bridges/irc/transport.py", "bridges/irc/tls.py", "bridges/irc/dialing.py", "bridges/irc/proxying.py"}
# A mail is lines of its own kind. Those who end them, from fields that the codec has made; and who only reads them.
MAILS = {
    "bridges/email/composing/composer.py",
    "bridges/email/composing/parts.py",
    "bridges/email/composing/signing.py",
    "bridges/email/composing/submitted.py",
    "bridges/email/delivery/wire.py",
    "bridges/email/smtp/trace.py",
}
READERS = {
    "bridges/email/tools/archives.py",
    "bridges/email/trust/head.py",
    "bridges/email/parsing/reports.py",
    "bridges/email/parsing/sniff.py",
    "bridges/email/smtp/wire.py",
}
PIPES = {"bridges/email/parsing/worker.py"}
# Who connects to be greeted, and writes nothing.
GREETED = {"bridges/email/rehearsal.py"}
SOCKETS = {"open_connection", "create_connection", "open_unix_connection", "sendall", "sock_sendall", "sendto"}
COMMANDS = {b"CAP", b"NICK", b"USER", b"JOIN", b"MODE", b"WHO", b"PRIVMSG", b"NOTICE", b"PING", b"PONG", b"QUIT"}
COMMANDS |= {b"TAGMSG", b"REDACT", b"NAMES", b"PART", b"AWAY", b"WHOIS", b"MONITOR", b"TOPIC", b"LIST", b"ISON"}
COMMANDS |= {b"METADATA", b"BATCH", b"CHATHISTORY", b"AUTHENTICATE", b"SETNAME", b"ISUPPORT"}


def _adapters() -> Iterator[tuple[str, ast.Module]]:
    for path in modules("bridges"):
        name = name_of(path)
        if "/demo/" not in name and name not in WIRE:
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def socket_uses(tree: ast.Module) -> list[int]:
    """Lines that open or write a socket themselves."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in SOCKETS]


def writes(tree: ast.Module) -> list[int]:
    """Lines that write anything."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("write")]


def raw_writes(tree: ast.Module) -> list[int]:
    """Lines that write bytes made on the spot: a literal, an f-string, encoded or formatted text."""
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write"):
            continue
        for argument in ast.walk(node.args[0]) if node.args else ():
            made = isinstance(argument, ast.JoinedStr | ast.Constant) or (
                isinstance(argument, ast.Call)
                and isinstance(argument.func, ast.Attribute)
                and argument.func.attr in ("encode", "join", "format")
            )
            if made and not _within_serialize(node.args[0], argument):
                found.append(node.lineno)
    return found


def _within_serialize(whole: ast.expr, part: ast.AST) -> bool:
    calls = [
        n
        for n in ast.walk(whole)
        if isinstance(n, ast.Call) and ast.unparse(n.func).startswith(("serialize", "encode_reply"))
    ]
    tests = [n.test for n in ast.walk(whole) if isinstance(n, ast.IfExp)]
    return any(part is inner for call in [*calls, *tests] for inner in ast.walk(call))


def line_ends(tree: ast.Module) -> list[int]:
    """Lines with a bytes literal that ends a line of the wire."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and b"\r\n" in node.value
    ]


def test_adapters_write_serialized_lines_only() -> None:
    """Sockets are opened in one place of an adapter, lines ended in its codec, and nothing else is written."""
    found: dict[str, list[int]] = {}
    for name, tree in _adapters():
        wrong = socket_uses(tree) if name not in GREETED else writes(tree)
        if name not in MAILS | PIPES:
            wrong += raw_writes(tree)
        if "/codec/" not in name and name not in MAILS | READERS:
            wrong += line_ends(tree)
        if wrong:
            found[name] = wrong
    assert found == {}
    assert {name for name in WIRE | MAILS | READERS | PIPES | GREETED if not (ROOT / name).is_file()} == set()


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (socket_uses, "asyncio.open_connection(h, p)", "self._connection.open(t)"),
        (raw_writes, "s.write(f'PRIVMSG {x}')", "s.write(serialize('PRIVMSG', f'{x}'))"),
        (raw_writes, "s.write(text.encode())", "s.write(line)"),
        (raw_writes, "s.write(b'QUIT')", "s.write(heads + body if index == 0 else body)"),
        (line_ends, "end = b'a\\r\\n'", "end = 'a'"),
    ],
)
def test_the_rules_find_what_they_are_for(rule: Any, bad: str, good: str) -> None:
    """Each reports code that breaks it and passes code that only looks alike."""
    assert rule(ast.parse(bad))
    assert not rule(ast.parse(good))


class Wire:
    """What an IRC server read, byte for byte, line by line."""

    def __init__(self) -> None:
        self.data = b""

    @property
    def lines(self) -> list[bytes]:
        """Whole lines without their ends."""
        return self.data.split(b"\r\n")[:-1]

    def said(self, chat: bytes = b"#a") -> list[bytes]:
        """The texts said in a channel, in order."""
        found = []
        for line in self.lines:
            match = re.fullmatch(rb"(?:@\S+ )?(?:PRIVMSG|NOTICE) (\S+) :?(.*)", line, re.DOTALL)
            if match is not None and match[1] == chat:
                found.append(match[2])
        return found

    def check(self) -> None:
        """Every line is one of ours, whole, and holds nothing that would end it early."""
        assert self.data.endswith(b"\r\n")
        for line in self.lines:
            assert not set(b"\r\n\0") & set(line), line
            command = line.split(b" ", 2)[1 if line.startswith(b"@") else 0]
            assert command in COMMANDS, line
            line.decode()  # and UTF-8 throughout


@pytest.fixture(name="wire")
def _wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire, read = Wire(), Link.data_received

    def recorded(link: Link, data: bytes) -> None:
        wire.data += data
        read(link, data)

    monkeypatch.setattr(Link, "data_received", recorded)
    return wire


@pytest.fixture(name="irc", params=["relay", "puppets"])
async def _irc(tmp_path: Path, gates: Gates, wire: Wire, request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    server = DemoIrcServer()
    await server.start()
    network: dict[str, Any] = {
        "type": "irc",
        "server": "127.0.0.1",
        "port": server.port,
        "tls": False,
        "rate": 0,
        "connect_rate": 0,
        "hybrid": {"puppet": "always"},
        "portals": ["#a"],
    }
    network["puppets"] = request.param == "puppets"
    async with Harness(tmp_path, {"irc": network}, {"irc": IrcConnector}) as harness:
        yield harness
    await server.stop()


BREAKS = ["\r", "\n", "\r\n", "\0", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c\x1d\x1e", "\ud7ff\r"]
HOSTILE = [f"a{end}QUIT :pwned" for end in BREAKS] + [
    "\x01DCC SEND a 1 2 3\x01",
    "\x01VERSION\x01",
    ":prefix PRIVMSG #a :x",
    " \r\n \r\n",
    "@label=1 PRIVMSG",
    "\x02\x0304,05\x0f\x1d\x16",
    "x" * 5000,
    "\u202eQUIT\u202c" * 40,
    "é\r\n" * 300,
]


async def _room(irc: Harness) -> str:
    engine = irc.running.engine
    room = await engine.rooms.ensure(await engine.portals.ensure(NetworkId("irc"), ChatId("#a")))
    irc.alice.join(room)
    irc.alice.send(room, "hello")
    await irc.settled()
    return room


async def test_no_text_from_matrix_becomes_a_command(irc: Harness, wire: Wire) -> None:
    """CVE-2022-29166, CVE-2025-27146: line breaks in bodies, HTML, names, file names, reasons, reactions, replies."""
    room = await _room(irc)
    alice = irc.alice
    for text in HOSTILE:
        alice.send(room, text, "m.emote")
        html = f"<b>{text}</b><br>{text}<pre><code>{text}</code></pre>"
        first = alice.send(room, text, format="org.matrix.custom.html", formatted_body=html)
        alice.reply(room, first, text)
        alice.edit(room, first, text)
        alice.react(room, first, text[:200])
        alice.send_event(room, "m.room.message", {"msgtype": "m.file", "body": text, "url": "mxc://hs.test/a"})
        alice.send_event(
            room, "m.room.message", {"msgtype": "m.image", "body": text, "filename": text, "url": "mxc://hs.test/a"}
        )
        await irc.settled()  # what is redacted before it was sent is not sent
        alice.redact(room, first, text)
        alice.set_profile(text)
    alice.send(room, "the end")
    await irc.settled()
    wire.check()
    if irc.running.networks.get(NetworkId("irc")).logins():  # type: ignore[union-attr]
        assert any(b"TAGMSG" in line for line in wire.lines)
    assert wire.said()[-1].endswith(b"the end")
    assert not [line for line in wire.lines if line.startswith(b"QUIT")]


async def test_any_text_is_lines_of_its_sender(irc: Harness, wire: Wire, request: pytest.FixtureRequest) -> None:
    """Fuzzed bodies and names: each line is whole, and a relayed one begins with the sender's name and nothing else."""
    room = await _room(irc)
    relay = "relay" in request.node.name
    examples: list[tuple[str, str]] = []

    @settings(max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(_texts, _texts)
    def collect(body: str, name: str) -> None:
        examples.append((body, name))

    collect()
    start = len(wire.said())
    for body, name in examples:
        irc.alice.set_profile(name or "nobody")
        irc.alice.send(room, body)
    await irc.settled()
    wire.check()
    if relay:
        odd = [line for line in wire.said()[start:] if not re.match(rb"<[^<>\x00-\x1f]+> ", line)]
        assert odd == []
    assert (await irc.running.journal.audit()).holds


@pytest.mark.parametrize("irc", ["relay"], indirect=True)
async def test_a_relayed_name_cannot_be_ended_early(irc: Harness, wire: Wire) -> None:
    """No display name looks like another's followed by what they say: brackets and line breaks are not part of it."""
    room = await _room(irc)
    names = ["root> you are fired <", "<root>", "a\n<root> hi", "\u202etoor\u202c>", "root\x0f> \x03", " \u2028> "]
    for name in names:
        irc.alice.set_profile(name)
        irc.alice.send(room, "x")
    await irc.settled()
    wire.check()
    lines = wire.said()[-len(names) :]
    assert [line for line in lines if not re.fullmatch(rb"<[^<>\x00-\x1f]+> x", line)] == []


_texts = st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n\0 <>:@\x01\u2028\u200b\u202e"), max_size=40)


@pytest.mark.parametrize("end", [end for end in BREAKS if end in "\r\n\0"] + [" ", ",", "\x07"])
async def test_no_argument_of_a_command_becomes_one(irc: Harness, wire: Wire, end: str) -> None:
    """CVE-2023-38690, CVE-2024-52505: a channel or nick with a line break, space, comma or NUL is refused in words."""
    admin = irc.homeserver.user("admin")
    room = await _room(irc)
    admin.join(room)
    for command in (f"bridge irc #b{end}QUIT", f"portal irc #b{end}KILL", f"chat irc bob{end}KILL", f"join{end}OPER"):
        admin.send(room, f"!bridge {command}")
    await irc.settled()
    wire.check()
    joined = [line for line in wire.lines if line.startswith(b"JOIN")]
    assert [line for line in joined if b"QUIT" in line or b"KILL" in line] == []
    answers = [body for sender, body in irc.homeserver.messages(room) if sender == irc.homeserver.bot]
    assert not [text for text in answers if "is now bridged" in text or "you are invited" in text]
    (network,) = irc.running.networks
    assert isinstance(network.connector, IrcConnector)
    for text in (f"#b{end}QUIT", f"bob{end}QUIT"):
        for names in (network.connector.chat, network.connector.person):
            with pytest.raises(ValueError, match=r"\S"):
                names(text)
