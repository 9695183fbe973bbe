"""A small IRC server over real sockets and TLS: for demonstrations, tests with switches, and benchmarks.

``python -m bridges.irc.demo.server --port 6667 [--tls-port N --tls CERT KEY]`` runs it and prints one JSON line
with its ports. ``--without draft/multiline`` and ``--set history=0`` turn its switches.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import signal
import ssl
from typing import Any, Literal

from bridges.irc.demo import admission, isupport, netsplit, registration, services
from bridges.irc.demo.client import Client
from bridges.irc.demo.commands import HANDLERS
from bridges.irc.demo.link import Link
from bridges.irc.demo.options import CAPABILITIES, Faults, Flood, ServerBan, ServerOptions
from bridges.irc.demo.world import World

#: Seconds a stopping server gives its connections to close by themselves.
CLOSE_TIME = 2.0


class DemoIrcServer:
    """Listens on loopback as ``options`` say; can be stopped and started again on the same ports."""

    def __init__(self, options: ServerOptions | None = None) -> None:
        self.options = options or ServerOptions()
        self.faults = Faults()
        self.world = World(self.options, self.faults, HANDLERS, registration.complete)
        self.port: int | None = None
        self.tls_port: int | None = None
        self._listeners: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._far: World | None = None

    async def start(self) -> None:
        """Listen. Port 0 takes a free port, and a later start takes the same one again. Raises OSError."""
        loop = asyncio.get_running_loop()
        host, options = self.options.host, self.options
        if options.port is not None:
            listener = await loop.create_server(lambda: Link(self.world), host, self.port or options.port, backlog=1024)
            self.port = listener.sockets[0].getsockname()[1]
            self._listeners.append(listener)
        if options.tls_port is not None:
            listener = await loop.create_server(
                lambda: Link(self.world),
                host,
                self.tls_port or options.tls_port,
                ssl=options.tls,
                backlog=1024,
            )
            self.tls_port = self.world.tls_port = listener.sockets[0].getsockname()[1]
            self._listeners.append(listener)
        self._sweeper = asyncio.create_task(self._sweep(), name="irc demo sweeper")

    async def stop(self) -> None:
        """Close the listeners and every connection, within CLOSE_TIME seconds. State of channels is gone."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        self.heal()
        for link in list(self.world.links):
            link.close("Server shutting down")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIME):
                await self.world.empty.wait()
        for link in list(self.world.links):
            link.abort("Server shutting down")

    # --- for tests

    def client(self, nick: str) -> Client:
        """Look a connected client up. Raises KeyError."""
        found = self.world.find(nick) or (self._far.find(nick) if self._far is not None else None)
        if found is None:
            raise KeyError(nick)
        return found

    def kill(self, nick: str, reason: str = "Killed") -> None:
        """Disconnect a client with an ERROR line."""
        client = self.client(nick)
        client.link.world.kill(client, reason)

    def ban(self, kind: Literal["G", "K", "X", "Z"], mask: str, reason: str = "no reason") -> None:
        """Ban from the server (see ServerBan): those who are here are ended, those who come are refused."""
        ban = ServerBan(kind, mask, reason)
        self.faults.bans.append(ban)
        for world in (self.world, *((self._far,) if self._far is not None else ())):
            for client in admission.banned(world, ban):
                world.kill(client, admission.refuse(world, client, ban))

    def unban(self, kind: Literal["G", "K", "X", "Z"], mask: str) -> None:
        """Take a ban back; does nothing when there is none."""
        self.faults.bans[:] = [ban for ban in self.faults.bans if (ban.kind, ban.mask) != (kind, mask)]

    def drop(self, nick: str) -> None:
        """Cut a client's connection without a word."""
        self.client(nick).link.abort("Connection reset")

    def stall(self, stalled: bool = True) -> None:
        """Stop (or resume) reading from every connection, present and future."""
        self.faults.stalled = stalled
        for link in self.world.links:
            if link.transport is not None and not link.transport.is_closing():
                (link.transport.pause_reading if stalled else link.transport.resume_reading)()

    def set_capabilities(self, capabilities: frozenset[str]) -> None:
        """Change what is offered, telling clients with cap-notify (CAP NEW and DEL)."""
        added, removed = capabilities - self.world.capabilities, self.world.capabilities - capabilities
        self.world.capabilities = capabilities
        for client in list(self.world.clients.values()):
            if "cap-notify" in client.caps:
                for sub, names in (("DEL", removed), ("NEW", added)):
                    if names:
                        self.world.say(client, f"CAP {client.nick} {sub} :{' '.join(sorted(names))}")
            client.set_caps(client.caps - removed)

    def set_host(self, nick: str, user: str, host: str) -> None:
        """Change a client's user and host as a cloak would (CHGHOST to those who know it, IRCv3 chghost)."""
        client = self.client(nick)
        world = client.link.world
        note = world.by(client, f"CHGHOST {user} {host}")
        world.tell({*world.observers(client, "chghost"), client}, note, "chghost")
        client.user, client.host = user, host
        world.numeric(client, 396, "is now your displayed host", host)

    def log_in(self, nick: str, account: str) -> None:
        """Log a client in as services would (900; ACCOUNT to those who know it, IRCv3 account-notify)."""
        client = self.client(nick)
        services.log_in(client.link.world, client, account)

    def log_out(self, nick: str) -> None:
        """Log a client out as services would (901, ACCOUNT *)."""
        client = self.client(nick)
        services.log_out(client.link.world, client)

    def tell_isupport(self, *tokens: str) -> None:
        """Send further ISUPPORT tokens to all clients, such as ``NICKLEN=9`` or ``-WHOX``."""
        for client in list(self.world.clients.values()):
            if client.registered or isupport.CAPABILITY in client.caps:
                isupport.send(self.world, client, list(tokens))

    def split(self, *nicks: str, server: str = "far.demo") -> World:
        """Cut the network in two: these clients are behind another server until ``heal`` (see netsplit).

        Both sides work on, each for itself. Gives the far side. Raises KeyError, ValueError when it is split already.
        """
        if self._far is not None:
            raise ValueError("the network is split already")
        self._far = netsplit.split(self.world, [self.client(nick) for nick in nicks], server)
        return self._far

    def heal(self) -> None:
        """Join the two sides again; does nothing when there is one only."""
        far, self._far = self._far, None
        if far is not None:
            netsplit.heal(self.world, far)

    # --- upkeep

    async def _sweep(self) -> None:
        """Ping the silent, disconnect the dead and the never registered."""
        options = self.options
        step = min(options.ping_interval, options.ping_timeout, options.registration_timeout, options.batch_timeout) / 4
        while True:
            await asyncio.sleep(max(step, 0.05))
            now = self.world.now()
            for link in [*self.world.links, *(self._far.links if self._far is not None else ())]:
                client = link.client
                if client is None:
                    continue
                silent = now - client.last_heard
                if client.open is not None and now - client.open.opened > options.batch_timeout:
                    client.open.expire(link.world, client)
                if not client.registered:
                    if now - client.signon > options.registration_timeout:
                        link.world.kill(client, "Registration timeout")
                elif silent > options.ping_interval + options.ping_timeout:
                    link.world.kill(client, f"Ping timeout: {int(silent)} seconds")
                elif silent > options.ping_interval and not client.pinged:
                    client.pinged = True
                    link.write(f"PING :{options.name}\r\n".encode("latin-1"))


async def serve(options: ServerOptions) -> None:
    """Run one server until SIGINT or SIGTERM; prints its ports as one JSON line when it listens."""
    server = DemoIrcServer(options)
    await server.start()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    print(json.dumps({"host": options.host, "port": server.port, "tls_port": server.tls_port}), flush=True)
    try:
        await stopped.wait()
    finally:
        await server.stop()


def read_options(argv: list[str] | None = None) -> ServerOptions:
    """Read the command line. Raises SystemExit with what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bridges.irc.demo.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls-port", type=int, default=0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--name", default="irc.demo")
    parser.add_argument("--network", default="DemoNet")
    parser.add_argument("--without", action="append", default=[], metavar="CAPABILITY", help="do not offer this one")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a ServerOptions switch, such as monitor=null",
    )
    args = parser.parse_args(argv)
    context: ssl.SSLContext | None = None
    if args.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*args.tls)
    unknown = set(args.without) - CAPABILITIES
    if unknown:
        parser.error(f"no such capability: {', '.join(sorted(unknown))}")
    switches: dict[str, Any] = {}
    for item in args.set:
        name, _, value = item.partition("=")
        if name not in _SWITCHES:
            parser.error(f"no such switch: {name}; there are: {', '.join(sorted(_SWITCHES))}")
        try:
            read = json.loads(value)
        except ValueError:
            parser.error(f"not JSON: {value}")
        switches[name] = tuple(read) if isinstance(read, list) else Flood(**read) if name == "flood" else read
    return ServerOptions(
        name=args.name,
        network=args.network,
        host=args.host,
        port=args.port,
        tls_port=args.tls_port if context else None,
        tls=context,
        capabilities=CAPABILITIES - set(args.without),
        **switches,
    )


#: Options that ``--set`` takes; the others have arguments of their own.
_SWITCHES = frozenset(field.name for field in dataclasses.fields(ServerOptions)) - {
    *("capabilities", "host", "name", "network", "port", "tls", "tls_port"),
}


def main(argv: list[str] | None = None) -> None:
    """Read the command line and run the server, under uvloop where it is installed."""
    options = read_options(argv)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(options))
    else:
        uvloop.run(serve(options))


if __name__ == "__main__":
    main()
