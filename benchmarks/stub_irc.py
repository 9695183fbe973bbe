"""An IRC server that does only what a load needs: ``python -m benchmarks.stub_irc --port N --control N``.

Members of a channel see each other's messages; a generator speaks as nicks that have no connection. It is controlled
by lines of JSON on a second port: one request, one answer, ``{"cmd": "stats"}`` and so on (see ``control``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
from typing import Any, cast

import orjson
import uvloop

from benchmarks.irc_load import Line, Speaker, write_all
from benchmarks.tally import Tally

CAPS = ("echo-message", "labeled-response", "batch", "message-tags", "server-time")

#: Nicks in one line of a list of members.
_NAMES = 40


class Connection(asyncio.Protocol):
    """One client: registers it, lets it join, counts what it says."""

    __slots__ = (
        "buffer",
        "caps",
        "channels",
        "negotiating",
        "nick",
        "ready",
        "registered",
        "server",
        "transport",
        "user",
    )

    def __init__(self, server: StubIrc) -> None:
        self.server = server
        self.buffer = b""
        self.nick = b""
        self.user = False
        self.negotiating = False
        self.registered = False
        self.caps: set[bytes] = set()
        self.channels: set[bytes] = set()
        self.ready = asyncio.Event()
        self.ready.set()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(1 << 20)
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self.ready.set()
        self.server.connections.discard(self)
        for channel in list(self.channels):
            self.server.leave(self, channel)

    def pause_writing(self) -> None:
        """Hold the generator back."""
        self.ready.clear()

    def resume_writing(self) -> None:
        """Let the generator go on."""
        self.ready.set()

    def data_received(self, data: bytes) -> None:
        """Run each line."""
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.server.line(self, line.rstrip(b"\r"))

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)


class StubIrc:
    """The server's state: connections, members of channels, the tally of what was said."""

    def __init__(self, caps: tuple[str, ...], relay: bool, members: int) -> None:
        self.caps = caps
        self.relay = relay
        self.fake_members = [b"n%d" % number for number in range(members)]
        self.connections: set[Connection] = set()
        self.members: dict[bytes, dict[Connection, None]] = {}
        self.tally = Tally()
        self.joins = 0
        self._waiting: list[tuple[int, asyncio.Event]] = []
        self._speakers: set[asyncio.Task[None]] = set()

    # --- client lines

    def line(self, client: Connection, raw: bytes) -> None:
        """Act on one line. Messages come first: they are the load."""
        tags = b""
        if raw[:1] == b"@":
            tags, _, raw = raw[1:].partition(b" ")
        verb, _, rest = raw.partition(b" ")
        if verb in (b"PRIVMSG", b"NOTICE"):
            self._message(client, tags, raw, rest)
        elif verb == b"PING":
            token = rest if rest[:1] == b":" else b":" + rest
            client.write(b":stub PONG stub %s\r\n" % token)
        elif verb == b"CAP":
            self._cap(client, rest)
        elif verb == b"NICK":
            if client.registered:
                client.write(b":%s!u@h NICK %s\r\n" % (client.nick, rest))
            client.nick = rest.lstrip(b":")
            self._welcome(client)
        elif verb == b"USER":
            client.user = True
            self._welcome(client)
        elif verb == b"JOIN":
            for channel in rest.split(b" ")[0].lstrip(b":").split(b","):
                self._join(client, channel)
        elif verb == b"PART":
            for channel in rest.split(b" ")[0].split(b","):
                self.leave(client, channel)
                client.write(b":%s!u@h PART %s\r\n" % (client.nick, channel))
        elif verb == b"MODE":
            words = rest.split(b" ")
            if len(words) == 1 and words[0][:1] == b"#":
                client.write(b":stub 324 %s %s +nt\r\n" % (client.nick, words[0]))
            elif words[-1].strip(b"+") == b"b":
                client.write(b":stub 368 %s %s :End\r\n" % (client.nick, words[0]))
        elif verb == b"WHO":
            client.write(b":stub 315 %s %s :End\r\n" % (client.nick, rest.split(b" ")[0]))
        elif verb == b"QUIT" and client.transport is not None:
            client.transport.close()
        elif verb not in (b"", b"PONG", b"PASS", b"QUIT"):
            client.write(b":stub 421 %s %s :Unknown command\r\n" % (client.nick or b"*", verb))

    def _message(self, client: Connection, tags: bytes, raw: bytes, rest: bytes) -> None:
        target, _, text = rest.partition(b" ")
        self.tally.add(target.decode("latin-1"), text)
        line = b":%s!u@h %s\r\n" % (client.nick, raw)
        if self.relay:
            for member in self.members.get(target, ()):
                if member is not client:
                    member.write(line)
        if b"echo-message" in client.caps:
            label = b""
            if b"label=" in tags:
                label = b"@label=" + tags.partition(b"label=")[2].partition(b";")[0] + b" "
            client.write(label + line)

    def _cap(self, client: Connection, rest: bytes) -> None:
        sub, _, more = rest.partition(b" ")
        if sub == b"LS":
            client.negotiating = not client.registered
            client.write(b":stub CAP * LS :%s\r\n" % " ".join(self.caps).encode())
        elif sub == b"REQ":
            wanted = more.lstrip(b":").split()
            granted = all(word.decode("latin-1") in self.caps for word in wanted)
            if granted:
                client.caps.update(wanted)
            client.write(b":stub CAP * %s :%s\r\n" % (b"ACK" if granted else b"NAK", b" ".join(wanted)))
        elif sub == b"END":
            client.negotiating = False
            self._welcome(client)

    def _welcome(self, client: Connection) -> None:
        nick = client.nick
        if client.registered or client.negotiating or not (nick and client.user):
            return
        client.registered = True
        client.write(
            b":stub 001 %s :Welcome %s!u@h\r\n:stub 002 %s :Host\r\n:stub 003 %s :Created\r\n"
            b":stub 004 %s stub stub-1 i nt\r\n"
            b":stub 005 %s CASEMAPPING=ascii CHANTYPES=# PREFIX=(ov)@+ CHANMODES=b,k,l,imnst NICKLEN=30 "
            b"CHANNELLEN=64 LINELEN=512 NETWORK=Stub :are supported\r\n"
            b":stub 422 %s :No MOTD\r\n" % (nick, nick, nick, nick, nick, nick, nick)
        )

    def _join(self, client: Connection, channel: bytes) -> None:
        if channel in client.channels:
            return
        members = self.members.setdefault(channel, {})
        note = b":%s!u@h JOIN %s\r\n" % (client.nick, channel)
        if self.relay:
            for member in members:
                member.write(note)
        members[client] = None
        client.channels.add(channel)
        names = [client.nick, *self.fake_members]
        lines = [note]
        for start in range(0, len(names), _NAMES):
            shown = b" ".join(names[start : start + _NAMES])
            lines.append(b":stub 353 %s = %s :%s\r\n" % (client.nick, channel, shown))
        lines.append(b":stub 366 %s %s :End\r\n" % (client.nick, channel))
        client.write(b"".join(lines))
        self.joins += 1
        for wanted, event in self._waiting:
            if self.joins >= wanted:
                event.set()

    def leave(self, client: Connection, channel: bytes) -> None:
        """Take a client out of a channel it is in."""
        if channel in client.channels:
            client.channels.discard(channel)
            self.members[channel].pop(client, None)
            self.joins -= 1

    # --- control

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each line of JSON with a line of JSON."""
        try:
            while line := await reader.readline():
                answer = await self._command(orjson.loads(line))
                writer.write(orjson.dumps(answer) + b"\n")
                await writer.drain()
        finally:
            writer.close()

    async def _command(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["cmd"]
        if name == "stats":
            return {**self.tally.report(), "connections": len(self.connections), "joins": self.joins}
        if name == "reset":
            self.tally.reset()
        elif name == "wait":
            return {"reached": await self.tally.wait(asked["count"], asked["seconds"])}
        elif name == "wait_joins":
            return {"reached": await self._wait_joins(asked["joins"], asked["seconds"])}
        elif name == "say":
            await self._say(asked)
        elif name == "burst":
            await self._burst(asked["bytes"])
        else:
            return {"error": f"unknown command {name}"}
        return {"ok": True}

    async def _wait_joins(self, joins: int, seconds: float) -> bool:
        """Wait until clients are in this many channels, counted over all clients."""
        if self.joins >= joins:
            return True
        entry = (joins, asyncio.Event())
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(seconds):
                await entry[1].wait()
        except TimeoutError:
            return False
        finally:
            self._waiting.remove(entry)
        return True

    async def _say(self, asked: dict[str, Any]) -> None:
        """Speak ``count`` lines round-robin over ``channels`` as ``nicks`` nicks each; at ``rate`` when given."""
        channels = [name.encode() for name in asked["channels"]]
        rate, first = float(asked.get("rate", 0)), int(asked.get("first", 0))
        speaker = Speaker(channels, int(asked["nicks"]), int(asked["count"]), rate, first)
        task = asyncio.create_task(speaker.run(self._deliver), name="speaker")
        if asked.get("wait", True):
            await task
        else:
            self._speakers.add(task)
            task.add_done_callback(self._speakers.discard)

    async def _deliver(self, lines: list[Line]) -> None:
        """Give each line to all members of its channel, one write per member, waiting for slow ones."""
        out: dict[Connection, list[bytes]] = {}
        for channel, data in lines:
            for member in self.members.get(channel, ()):
                out.setdefault(member, []).append(data)
        await write_all(out)

    async def _burst(self, size: int) -> None:
        """Send every client about ``size`` bytes of channel traffic that concerns nobody, in full lines."""
        line = b":somebody!u@h PRIVMSG #burst :" + b"x" * 400 + b"\r\n"
        await write_all({client: [line] * (size // len(line) + 1) for client in self.connections})


async def serve(port: int, control: int, tls: tuple[str, str] | None, stub: StubIrc) -> None:
    """Run the stub until SIGINT or SIGTERM; prints its ports as one JSON line."""
    loop = asyncio.get_running_loop()
    context: ssl.SSLContext | None = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port, ssl=context, backlog=4096)
    controller = await asyncio.start_server(stub.control, "127.0.0.1", control)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    ports = {
        "port": server.sockets[0].getsockname()[1],
        "control": controller.sockets[0].getsockname()[1],
    }
    print(json.dumps(ports), flush=True)
    await stopped.wait()
    server.close()
    controller.close()


def main(argv: list[str] | None = None) -> None:
    """Read the command line and run the stub."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stub_irc", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--caps", default="", help="comma-separated capabilities to offer, of " + ",".join(CAPS))
    parser.add_argument("--no-relay", action="store_true", help="do not show messages to other members")
    parser.add_argument("--members", type=int, default=0, help="nicks listed in every channel")
    args = parser.parse_args(argv)
    caps = tuple(name for name in args.caps.split(",") if name)
    stub = StubIrc(caps, not args.no_relay, args.members)
    uvloop.run(serve(args.port, args.control, tuple(args.tls) if args.tls else None, stub))


if __name__ == "__main__":
    main()
