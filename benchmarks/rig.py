"""Both stubs and one relay between them, bare or the bridge, for one measurement."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp
import trustme

from benchmarks.bridge_process import AS_TOKEN, BOT, DOMAIN, HS_TOKEN, BridgeSetup, free_port
from benchmarks.processes import BenchmarkError, Child, StubIrcLink, StubMatrix
from registration.namespaces import encode_id


@dataclass(frozen=True, slots=True)
class Layout:
    """Who is in which channel: ``channels`` names and users spread evenly over the first ``used`` of them."""

    channels: list[str]
    users: int = 0
    used: int = 0

    def members(self) -> list[tuple[str, str]]:
        """List (channel, user id) pairs."""
        used = self.channels[: self.used or len(self.channels)]
        return [(used[number % len(used)], f"@u{number}:{DOMAIN}") for number in range(self.users)]


@dataclass(slots=True)
class Rig:
    """A running measurement set-up. ``relay`` is the process whose cost is measured."""

    folder: Path
    matrix: StubMatrix
    irc: StubIrcLink
    layout: Layout
    ca: Path | None
    relay: Child | None = None
    bridge: BridgeSetup | None = None
    ready_s: float = 0.0
    shown: str = "lazy"
    encryption: str = "off"
    rooms: dict[str, str] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """The measured process."""
        if self.relay is None:
            raise BenchmarkError("nothing is running between the stubs")
        return self.relay.pid

    async def start_bare(self) -> None:
        """Run the bare relay, with a connection per user."""
        layout = self.layout
        self.rooms = {channel: f"!{channel.lstrip('#')}:{DOMAIN}" for channel in layout.channels}
        port = free_port()
        settings = {
            "homeserver": self.matrix.url,
            "domain": DOMAIN,
            "token": AS_TOKEN,
            "port": port,
            "irc_port": self.irc.port,
            "rooms": self.rooms,
            "puppets": {user: (user[1:].partition(":")[0], [channel]) for channel, user in layout.members()},
            "tls": self.ca is not None,
        }
        path = self.folder / "bare.json"
        path.write_text(json.dumps(settings))
        self.relay = await Child.spawn(self.folder, "bare", "benchmarks.bare_relay", str(path), announce=True)
        await self.relay.announced(120)
        await self.matrix.ask("appservice", url=f"http://127.0.0.1:{port}", hs_token=HS_TOKEN)
        await self.irc.wait_joins(len(layout.channels) + layout.users, 60)

    async def start_bridge(self, database: str, seconds: float = 600.0) -> None:
        """Run the bridge with a portal per channel until it says that it is ready; ``ready_s`` is how long."""
        if self.bridge is None:
            self.bridge = BridgeSetup(
                folder=self.folder / "bridge",
                homeserver=self.matrix.url,
                irc_port=self.irc.port,
                channels=self.layout.channels,
                port=free_port(),
                health_port=free_port(),
                ca=self.ca,
                database=database,
                members=self.shown,
                encryption=self.encryption,
            )
        url = f"http://127.0.0.1:{self.bridge.port}"
        await self.matrix.ask("appservice", url=url, hs_token=HS_TOKEN)
        self.relay = await self.bridge.start()
        self.ready_s = await self.relay.ready(self.bridge.ready_url, seconds)
        await self.irc.wait_joins(len(self.layout.channels), seconds)
        await self._want_rooms(url)
        await self._find_rooms()

    async def _want_rooms(self, bridge: str) -> None:
        """Ask for each portal's room by its alias, as a homeserver does when somebody joins it."""
        places = asyncio.Semaphore(16)
        headers = {"Authorization": f"Bearer {HS_TOKEN}"}

        async def want(channel: str) -> None:
            alias = quote(f"#_irc_{encode_id(channel)}:{DOMAIN}", safe="")
            url = f"{bridge}/_matrix/app/v1/rooms/{alias}"
            async with places, self.matrix.session.get(url, headers=headers) as found:
                if found.status != 200:
                    raise BenchmarkError(f"the bridge does not know the alias of {channel}: {found.status}")

        await asyncio.gather(*(want(channel) for channel in self.layout.channels))

    async def _find_rooms(self) -> None:
        """Find each channel's room by the channel's name in its alias; portals without one fail the benchmark."""
        aliases = await self.matrix.ask("rooms")
        found: dict[str, str] = {}
        for alias, room in aliases.items():
            if name := re.search(r"chan\d+$", alias.partition(":")[0]):
                found["#" + name[0]] = room
        for channel in self.layout.channels:
            room = found.get(channel)
            if room is None:
                raise BenchmarkError(f"no room for {channel}; aliases begin with {list(aliases)[:3]}")
            self.rooms[channel] = room

    async def enter_users(self) -> None:
        """Let the users join their rooms, and tell the bridge so, as a homeserver would."""
        members = [(self.rooms[channel], user) for channel, user in self.layout.members()]
        await self.matrix.ask("members", members=members)
        events = [
            {
                "type": "m.room.member",
                "room_id": room,
                "sender": user,
                "state_key": user,
                "event_id": f"$j{number}:{DOMAIN}",
                "origin_server_ts": 1,
                "content": {"membership": "join", "displayname": user[1:].partition(":")[0]},
            }
            for number, (room, user) in enumerate(members)
        ]
        for start in range(0, len(events), 100):
            await self.matrix.ask("events", events=events[start : start + 100])

    def routes(self) -> list[tuple[str, str]]:
        """List (room, sender) pairs for the stub homeserver's messages."""
        return [(self.rooms[channel], user) for channel, user in self.layout.members()]

    async def stop_relay(self) -> None:
        """End the measured process."""
        if self.relay is not None:
            await self.relay.stop()
            self.relay = None


@asynccontextmanager
async def rig(
    layout: Layout,
    *,
    tls: bool = False,
    irc_caps: str = "",
    irc_members: int = 0,
    shown: str = "lazy",
    encryption: str = "off",
) -> AsyncIterator[Rig]:
    """Start both stubs in a temporary folder; everything is stopped at the end.

    ``irc_members`` nicks are listed in every channel; ``shown`` is the bridge's ``members``, ``encryption`` its mode.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-bench-")))
        options: list[str] = ["--caps", irc_caps] if irc_caps else []
        options += ["--members", str(irc_members)] if irc_members else []
        ca: Path | None = None
        if tls:
            ca, cert, key = certificate(folder)
            options += ["--tls", str(cert), str(key)]
        homeserver = await Child.spawn(
            folder, "stub_homeserver", "benchmarks.stub_homeserver", "--bot", BOT, announce=True
        )
        stack.push_async_callback(homeserver.stop)
        irc = await Child.spawn(folder, "stub_irc", "benchmarks.stub_irc", *options, announce=True)
        stack.push_async_callback(irc.stop)
        url = f"http://127.0.0.1:{(await homeserver.announced())['port']}"
        ports = await irc.announced()
        timeout = aiohttp.ClientTimeout(total=900)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        reader, writer = await asyncio.open_connection("127.0.0.1", ports["control"])
        stack.callback(writer.close)
        made = Rig(
            folder,
            StubMatrix(homeserver, url, session),
            StubIrcLink(irc, ports["port"], reader, writer),
            layout,
            ca,
            shown=shown,
            encryption=encryption,
        )
        stack.push_async_callback(made.stop_relay)
        yield made


def certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Make a certificate for loopback; gives the files of its authority, itself and its key."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    ca, cert, key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    return ca, cert, key
