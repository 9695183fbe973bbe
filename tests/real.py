"""A bridge in this process before a real Synapse, between real IRC servers; people on both sides are raw clients."""

import itertools
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from bridge_core.api.ids import ChatId, NetworkId, PortalKey, UserId
from bridge_core.api.optional import Puppets
from bridge_core.demo.matrix_client import Event, MatrixClient
from bridge_core.demo.ports import free_port
from bridge_core.demo.synapse import Synapse
from bridge_core.engine.consents import CONSENT
from bridges.irc.demo.witness import Witness
from registration.namespaces import Template
from tests.harness import InProcess, write_config
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd

DOMAIN = "hs.test"
BOT = f"@bridgebot:{DOMAIN}"
TOKENS = ("as-Kd82nfQz5Wc16Yt09", "hs-Vb73mgXp4Rj28Lh61")
NETWORKS = {"insps": "irc", "insp": "irc", "ng": "irc", "echo": "echo", "mail": "email"}
FAST: Mapping[str, Any] = {
    "rate": 0,
    "connect_rate": 0,
    "reconnect_min": 0.1,
    "reconnect_max": 0.5,
    "hybrid": {"puppet": "always"},
    "messages": {"merge": False},
}
"""Settings of an IRC network whose server has no limits; each line is counted."""

GRANTS = ["portals", "private_messages", "puppets"]
"""What that network allows the bridge."""

CAPS = ("message-tags", "server-time", "account-tag")

Ircd = InspIRCd | NgIRCd
Servers = Mapping[str, tuple[Ircd, Mapping[str, Any]]]
"""IRC servers by the name of their network, with the network's own settings."""


@dataclass(slots=True)
class Ground:
    """A Synapse that knows one bridge, at `port`, and its users. It belongs to no event loop."""

    synapse: Synapse
    port: int
    passes: dict[str, str] = field(default_factory=dict)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @classmethod
    async def start(cls, folder: Path) -> Self:
        """Starts it with a registration for all `NETWORKS`."""
        port, files = free_port(), folder / "registration"
        files.mkdir()
        # For its registration.yaml only: a network's settings do not show there.
        types = {name: {"type": kind} for name, kind in NETWORKS.items()}
        write_config(files, "http://127.0.0.1:1", types, port=port, tokens=TOKENS)
        synapse = Synapse(folder / "synapse", registrations=[files / "registration.yaml"])
        await synapse.start()
        return cls(synapse, port)

    async def client(self, name: str) -> MatrixClient:
        """A raw client of the user of that name, to be opened; the user is registered the first time."""
        if name not in self.passes:
            self.passes[name] = await self.synapse.register_user(name, f"{name}-password")
        return MatrixClient(self.synapse.url, self.passes[name])

    def bridge(self, folder: Path, networks: Mapping[str, Mapping[str, Any]], **sections: Any) -> InProcess:
        """A bridge here, not started. Only one at a time may run."""
        return InProcess(
            folder, networks, address=self.synapse.url, port=self.port, tokens=TOKENS, **_relayed(sections)
        )


def _relayed(sections: dict[str, Any]) -> dict[str, Any]:
    """The sections with carol as somebody whom the relay speaks for."""
    permissions = {f"@carol:{DOMAIN}": "relay", **sections.get("permissions", {})}
    return {**sections, "permissions": permissions}


def irc(server: Ircd, *, tls: bool = False, nick: str = "brdg", **settings: Any) -> dict[str, Any]:
    """The section of an IRC network."""
    port = server.tls_port if tls else server.port
    trust = {"tls_ca": str(server.certificate.authority)} if tls else {}
    return {
        "type": "irc",
        "grants": GRANTS,
        "consent": {"required": False},
        "server": server.host,
        "port": port,
        "tls": tls,
        "nick": nick,
        **FAST,
        **trust,
        **settings,
    }


def alias(network: str, chat: str) -> str:
    """The alias of a portal."""
    return f"#{Template('_{network}_{id}').localpart(network, chat, DOMAIN)}:{DOMAIN}"


def ghost(network: str, nick: str) -> str:
    """The ghost of somebody."""
    return f"@{Template('_{network}_{id}').localpart(network, nick.lower(), DOMAIN)}:{DOMAIN}"


class Place(NamedTuple):
    """A bridged channel, and the witness who sits in it as its operator."""

    network: str
    channel: str
    room: str
    witness: Witness


class Town:
    """A bridge between Synapse and IRC servers, with people. Made once for the tests of a module.

    On Matrix `alice` and `bob` have puppets, `carol` only the relay, `admin` commands the bridge.
    """

    def __init__(self, ground: Ground, folder: Path, servers: Servers, **sections: Any) -> None:
        self.ground = ground
        self.servers = {name: server for name, (server, _) in servers.items()}
        self.offices: dict[str, str] = {}
        """The management room of each user."""
        self._numbers = ground.numbers
        mine = next(self._numbers)
        self.free = {name: [f"#{name}{mine}-{number}" for number in range(6)] for name in servers}
        networks = {
            name: {**irc(server, **settings), "portals": list(self.free[name])}
            for name, (server, settings) in servers.items()
        }
        self.harness = ground.bridge(folder, networks, **sections)
        self.witnesses: dict[str, Witness] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            self.alice, self.bob, self.carol, self.admin = [
                await self.person(name) for name in ("alice", "bob", "carol", "admin")
            ]
            await self.harness.start_bridge()
            self.office = await self.admin.create_room(preset="private_chat", invite=[BOT])
            await self.notice(self.admin, self.office, "This is your management room")
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops the bridge, and everybody goes home."""
        await self.harness.stop_bridge()
        await self._stack.aclose()

    async def person(self, name: str) -> MatrixClient:
        """A raw client of a Matrix user, closed with the town."""
        return await self._stack.enter_async_context(await self.ground.client(name))

    async def witness(self, network: str, nick: str = "") -> Witness:
        """A raw IRC client with every capability it can have: a new one for a nick, else the network's own."""
        if not nick and network in self.witnesses and not self.witnesses[network].closed:
            return self.witnesses[network]
        server = self.servers[network]
        witness = await Witness.connect(server.host, server.port, nick or f"w{next(self._numbers)}", caps=CAPS)
        self._stack.push_async_callback(witness.close)
        if not nick:
            self.witnesses[network] = witness
        return witness

    async def command(self, text: str, answer: str) -> Event:
        """Gives a command as `admin`; the notice that answers it, which holds `answer`."""
        event = await self.admin.send_text(self.office, text)
        return await self.notice(self.admin, self.office, answer, about=event)

    async def place(self, network: str) -> Place:
        """A new channel whose operator is the network's witness, made a portal by command; alice is in its room."""
        witness, channel = await self.witness(network), f"#c{next(self._numbers)}"
        await witness.join(channel)
        told = await self.command(f"portal {network} {channel}", "you are invited")
        if "I have asked" in str(told["content"]["body"]):
            await witness.wait_text("asks to bridge this channel", channel)
            witness.privmsg(channel, "!bridge allow")
            await self.harness.until(lambda: self._agreed(network, channel), 60)
        room = await self.alice.join(alias(network, channel))
        await witness.wait_for(lambda line: line.command == "JOIN" and self.is_relay(network, line.nick))
        return Place(network, channel, room, witness)

    def _agreed(self, network: str, channel: str) -> bool:
        row = self.harness.running.engine.portals.get(PortalKey(NetworkId(network), ChatId(channel)))
        return row is not None and bool(row.rooms) and row.options.get(CONSENT) == "granted"

    def rooms(self, network: str, channel: str) -> tuple[str, ...]:
        """The rooms of a portal as the bridge knows them."""
        row = self.harness.running.engine.portals.get(PortalKey(NetworkId(network), ChatId(channel)))
        return row.rooms if row is not None else ()

    def is_relay(self, network: str, nick: str) -> bool:
        """Whether a nick is the bridge's own on a network."""
        return nick == str(self.harness.networks[network]["nick"])

    async def puppet(self, place: Place, user: MatrixClient) -> str:
        """Makes a user say something until their own connection is in the channel; its nick there."""
        await user.join(place.room)
        mark, said = place.witness.mark(), f"hello from {user.user_id}"
        await user.send_text(place.room, said)
        await place.witness.wait_text(said, place.channel, since=mark)
        await self.harness.until(lambda: self.ready(place, user))
        joins = [line for line in place.witness.lines if line.command == "JOIN" and line.params[0] == place.channel]
        return next(line.nick for line in reversed(joins) if not self.is_relay(place.network, line.nick))

    def ready(self, place: Place, user: MatrixClient) -> bool:
        """Whether a user's own connection would speak in the channel now."""
        network = self.harness.running.networks.get(NetworkId(place.network))
        client = network.client_of(UserId(user.user_id)) if network is not None else None
        return isinstance(client, Puppets) and client.ready(ChatId(place.channel))

    async def notice(self, user: MatrixClient, room: str, text: str, *, about: str = "") -> Event:
        """The bot's notice that holds `text`, as a reply to `about` when given."""

        def fits(event: Event) -> bool:
            content = event["content"]
            relation = content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
            return (
                event["room_id"] == room
                and event["sender"] == BOT
                and content.get("msgtype") == "m.notice"
                and text.lower() in content.get("body", "").lower()
                and about in ("", relation)
            )

        return await user.wait_for(fits, what=f"a notice with {text!r}")
