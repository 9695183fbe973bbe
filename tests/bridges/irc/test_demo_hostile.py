"""The demo server under lines nobody would send: a witness has to be able to rely on it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from bridges.irc.demo.commands import HANDLERS
from bridges.irc.demo.options import CAPABILITIES
from bridges.irc.demo.server import DemoIrcServer
from tests.bridges.irc.demo_rig import Connect, Start

_WORDS = (
    "", "#a", "#b", "&x", "#voilà", "anna", "bert", "nobody", "*", "0", "+", "-", "+b", "-k", "+ovbeIqklf", "+l", "²",
    "9" * 21, "$a:x", "$#b", "$", "~a", "a!b@c", "msgid=x", "timestamp=x", "timestamp=2020-01-01T00:00:00.000Z",
    "BETWEEN", "AROUND", "TARGETS", "LS", "REQ", "END", "302", "draft/multiline", "+1", "-1", "SET", "GET", "LIST",
    "1", "LATEST", "SUB", "CLEAR", "avatar", "PLAIN", "EXTERNAL", "SCRAM-SHA-256", "=", "AAAA", "\0", "\xff\xb5\xdf",
    "x" * 600, ":", ",,", "@#a", "%#a", "a/m", "L", "C", "S", "%tcuhnfar,1", "NickServ", "IDENTIFY x y",
)  # fmt: skip
_TAGS = ("", "", "@label=x ", "@batch=1 ", "@+typing=active;label=y ", "@batch=1;draft/multiline-concat ")


def _lines(chance: random.Random) -> list[bytes]:
    """Make what one client says: a registration, mostly, and then anything."""
    lines: list[str] = []
    if chance.random() < 0.8:
        nick = chance.choice(("anna", "bert", "carl"))
        wanted = " ".join(sorted(CAPABILITIES))
        lines += ["CAP LS 302", f"CAP REQ :{wanted}", f"NICK {nick}", "USER a 0 * :r", "CAP END", "JOIN #a,#b"]
    commands = sorted(HANDLERS.keys() - {"QUIT"})
    for _ in range(80):
        words = [chance.choice(_WORDS) for _ in range(chance.randint(0, 5))]
        if words and chance.random() < 0.5:
            words[-1] = ":" + words[-1]
        lines.append(chance.choice(_TAGS) + " ".join([chance.choice(commands), *words]))
    return [line.encode("latin-1", "replace") for line in lines]


async def _say(server: DemoIrcServer, lines: list[bytes]) -> None:
    assert server.port is not None
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\r\n".join(lines) + b"\r\nQUIT\r\n")
        await reader.read()
        writer.close()


@pytest.mark.parametrize("seed", range(6))
async def test_no_line_breaks_the_server(start: Start, connect: Connect, seed: int) -> None:
    """Whatever clients say, alone or while the network splits, no handler fails and the others are served."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    chance = random.Random(seed)
    server = await start(
        accounts={"anna": "pw"},
        sasl_mechanisms=("EXTERNAL", "PLAIN", "SCRAM-SHA-256"),
        webirc_password="p",
        prefix=chance.choice(("(ov)@+", "(qaohv)~&@%+")),
        extbans=chance.choice(("$", "~", "", None)),
    )
    watch = await connect(server, "watch")
    for _ in range(20):
        await asyncio.gather(*(_say(server, _lines(chance)) for _ in range(2)))
        assert failures == []
        if watch.closed:
            watch = await connect(server, "watch")
        await watch.sync()
        server.heal()
        server.split(*[client.nick for client in server.world.clients.values() if client is not server.client("watch")])
    server.heal()
    await watch.sync()


async def test_names_in_any_language_are_whole(start: Start, connect: Connect) -> None:
    """Bytes of characters are no spaces: a channel with NBSP's byte in its name is one channel."""
    server = await start()
    anna, bert = await connect(server, "anna"), await connect(server, "bert")
    for witness in (anna, bert):
        witness.raw("JOIN #voilà")
        await witness.sync()
    anna.raw("PRIVMSG #voilà :là")
    assert (await bert.wait_text("là")).params[0] == "#voilà"
