"""The floor: the smallest relay between IRC and Matrix there can be, on aiohttp and uvloop.

No store, no encryption, no mapping, no recovery. An IRC line becomes one PUT as a ghost, at most one in flight per
channel; a transaction becomes IRC lines on the senders' connections. ``python -m benchmarks.bare_relay SETTINGS.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import ssl
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
import uvloop
from aiohttp import web


@dataclass(frozen=True, slots=True)
class Settings:
    """What the relay is told: ``rooms`` maps channels to room ids, ``puppets`` user ids to (nick, channels)."""

    homeserver: str
    domain: str
    token: str
    port: int
    irc_port: int
    rooms: dict[str, str]
    puppets: dict[str, tuple[str, list[str]]]
    tls: bool = False


class Puppet(asyncio.Protocol):
    """A connection that only writes; what it reads is thrown away but for PING."""

    def __init__(self, nick: str, channels: list[str]) -> None:
        self.nick = nick
        self.channels = channels
        self.joined = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register and join."""
        self.transport = cast(asyncio.Transport, transport)
        joins = "".join(f"JOIN {channel}\r\n" for channel in self.channels)
        self.transport.write(f"NICK {self.nick}\r\nUSER u 0 * :u\r\n{joins}".encode())

    def data_received(self, data: bytes) -> None:
        """Answer PING."""
        if data.startswith(b"PING") or b"\nPING" in data:
            self.write(b"PONG :x\r\n")
        if not self.joined.done() and (not self.channels or b" 366 " in data):
            self.joined.set_result(None)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self.transport is not None:
            self.transport.write(data)


class Observer(Puppet):
    """The connection whose lines go to Matrix."""

    def __init__(self, relay: Relay, channels: list[str]) -> None:
        super().__init__("observer", channels)
        self.relay = relay
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Hand each PRIVMSG on."""
        super().data_received(data)
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        for line in lines:
            words = line.split(b" ", 3)
            if len(words) == 4 and words[1] == b"PRIVMSG":
                self.relay.from_irc(words[0][1:].partition(b"!")[0], words[2], words[3][1:])


class Relay:
    """Both directions."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.queues = {channel.encode(): deque[tuple[bytes, bytes]]() for channel in settings.rooms}
        self.busy: set[bytes] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.by_room = {room: channel for channel, room in settings.rooms.items()}
        self.puppets: dict[str, Puppet] = {}
        self.own: set[bytes] = {nick.encode() for nick, _ in settings.puppets.values()}
        self.session: aiohttp.ClientSession | None = None
        self.txns = itertools.count(1)

    def from_irc(self, nick: bytes, channel: bytes, text: bytes) -> None:
        """Queue a line; a task per busy channel sends them one after the other."""
        queue = self.queues.get(channel)
        if queue is None or nick in self.own:
            return
        queue.append((nick, text))
        if channel not in self.busy:
            self.busy.add(channel)
            task = asyncio.create_task(self._drain(channel, queue))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _drain(self, channel: bytes, queue: deque[tuple[bytes, bytes]]) -> None:
        assert self.session is not None
        base = f"/_matrix/client/v3/rooms/{self.settings.rooms[channel.decode()]}/send/m.room.message/"
        ghosts = f"?user_id=@_irc_{{}}:{self.settings.domain}"
        while queue:
            nick, text = queue.popleft()
            body = orjson.dumps({"msgtype": "m.text", "body": text.decode(errors="replace")})
            path = f"{base}{next(self.txns)}{ghosts.format(nick.decode())}"
            async with self.session.put(path, data=body) as reply:
                await reply.read()
        self.busy.discard(channel)

    async def from_matrix(self, request: web.Request) -> web.Response:
        """Write each event of a transaction to IRC, then acknowledge."""
        for event in orjson.loads(await request.read())["events"]:
            puppet = self.puppets.get(event["sender"])
            channel = self.by_room.get(event["room_id"])
            if puppet is not None and channel is not None and event["type"] == "m.room.message":
                puppet.write(f"PRIVMSG {channel} :{event['content']['body']}\r\n".encode())
        return web.json_response({})

    async def run(self) -> None:
        """Connect everything, then serve until SIGINT or SIGTERM; prints a JSON line when ready."""
        settings, loop = self.settings, asyncio.get_running_loop()
        context: ssl.SSLContext | None = None
        if settings.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        headers = {"Authorization": f"Bearer {settings.token}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(base_url=settings.homeserver, headers=headers) as self.session:
            _, observer = await loop.create_connection(
                lambda: Observer(self, list(settings.rooms)), "127.0.0.1", settings.irc_port, ssl=context
            )
            await observer.joined
            for user, (nick, channels) in settings.puppets.items():
                _, puppet = await loop.create_connection(
                    lambda nick=nick, channels=channels: Puppet(nick, channels),
                    "127.0.0.1",
                    settings.irc_port,
                    ssl=context,
                )
                await puppet.joined
                self.puppets[user] = puppet
            app = web.Application(client_max_size=64 << 20)
            app.router.add_put("/_matrix/app/v1/transactions/{txn}", self.from_matrix)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", settings.port).start()
            stopped = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stopped.set)
            print(json.dumps({"port": settings.port}), flush=True)
            await stopped.wait()
            await runner.cleanup()
            for task in list(self.tasks):
                task.cancel()


def main(argv: list[str] | None = None) -> None:
    """Read the settings file and run the relay."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_relay", description=__doc__)
    parser.add_argument("settings", type=Path)
    raw: dict[str, Any] = json.loads(parser.parse_args(argv).settings.read_text())

    async def run() -> None:
        await Relay(Settings(**raw)).run()

    uvloop.run(run())


if __name__ == "__main__":
    main()
