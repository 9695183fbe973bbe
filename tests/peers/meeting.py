"""A whole bridge on a real Synapse, with the echo, a scripted and an IRC network, and both independent clients."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bridge_core.api.events import RemoteEvent
from bridge_core.api.ids import ChatId, LoginId, NetworkId, PortalKey, UserId
from bridge_core.api.matrix import MatrixOutgoing
from bridge_core.api.optional import Puppets
from bridge_core.demo.peers.peer import Peer, PeerEvent, nio_peer
from bridges.irc.demo.witness import Witness
from tests.able import AbleScript
from tests.conformance.bridged import BOT, ECHO, Bridged
from tests.conformance.homeservers import SERVER, Homeserver, synapse
from tests.peers.rust import UNSHIELDED, RustPeer, rust_peer
from tests.real import CAPS, alias, ghost, irc
from tests.servers.inspircd import InspIRCd

NONE = UNSHIELDED
CHANNEL = "#lounge"
ANNA = f"@_net_anna:{SERVER}"
WANDA = ghost("irc", "wanda")
PASSWORD = "secret"


class Meeting:
    """The bridge and the two clients, in the encrypted rooms that the bridge makes.

    `rooms` are those of a chat of the echo network and of an IRC channel, by network; `witness` is wanda, who sits in
    the channel. `nicks` are those of the clients there.
    """

    def __init__(self, homeserver: Homeserver, folder: Path, ircd: InspIRCd) -> None:
        self._homeserver = homeserver
        self._folder = folder
        self.ircd = ircd
        self.at: Bridged
        self.rust: RustPeer
        self.nio: Peer
        self.witness: Witness
        self.rooms: dict[str, str] = {}
        self.nicks: dict[str, str] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Start everything; both clients are in both rooms, and each ghost has spoken once."""
        # nio knows no cross-signing: it is let in as somebody without any identity.
        sections = {
            "encryption": {"mode": "auto", "trust": {"send": "no-identity"}},
            "appservice": {"sender": "bridgesender"},
        }
        (self._folder / "bridge").mkdir()

        async def bridge() -> None:
            self.at = await Bridged.start(
                self._homeserver,
                self._folder / "bridge",
                script=AbleScript(),
                sections=sections,
                echo={"encryption": "require"},
                beside={"irc": irc(self.ircd, portals=[CHANNEL], encryption="require")},
                encryption="default",
            )
            stack.push_async_callback(self.at.bridge.stop_bridge)

        self.nio = await nio_peer(self._homeserver.url, self._folder / "nina")
        stack.push_async_callback(self.nio.kill)
        _, (self.rust,), _ = await asyncio.gather(
            bridge(), self.newcomers(stack, "rosa"), self.nio.start(await self.name(), PASSWORD)
        )
        self.witness = await Witness.connect(self.ircd.host, self.ircd.port, "wanda", caps=CAPS)
        stack.push_async_callback(self.witness.close)
        await self.witness.join(CHANNEL)
        self.rooms["echo"], _ = await self.enter("echo")
        self.rooms["irc"] = await self.both_join(alias("irc", CHANNEL))
        for peer in self.peers:
            await self.nick(peer)
        await self.greet("hello")

    @property
    def peers(self) -> tuple[Peer, Peer]:
        """Both clients."""
        return self.rust, self.nio

    def peer(self, name: str) -> Peer:
        """The `rust` or the `nio` client."""
        return {"rust": self.rust, "nio": self.nio}[name]

    async def name(self) -> str:
        """The localpart of a new user."""
        return (await self._homeserver.human()).id[1:].partition(":")[0]

    async def newcomers(self, stack: AsyncExitStack, *folders: str) -> list[RustPeer]:
        """Rust clients of new users."""
        peers = [await rust_peer(self._homeserver.url, self._folder / folder) for folder in folders]
        for peer in peers:
            stack.push_async_callback(peer.kill)
        await asyncio.gather(*[peer.start(await self.name(), PASSWORD) for peer in peers])
        return peers

    async def both_join(self, room: str) -> str:
        """Both clients join a room."""
        joined = await self.rust.join(room)
        await self.nio.join(joined)
        return joined

    async def enter(self, network: str) -> tuple[str, ChatId]:
        """Both clients join the room of a new chat."""
        chat = self.at.chat()
        return await self.both_join(f"#_{network}_{chat}:{SERVER}"), ChatId(chat)

    async def nick(self, peer: Peer) -> None:
        """Make a client's user speak on IRC until they have a nick of their own in the channel."""
        mark, body = self.witness.mark(), f"here is {peer.user_id}"
        await peer.send_text(self.rooms["irc"], body)
        await self.witness.wait_text(body, CHANNEL, since=mark)

        def ready() -> bool:
            network = self.at.bridge.running.networks.get(NetworkId("irc"))
            client = network.client_of(UserId(peer.user_id)) if network is not None else None
            return isinstance(client, Puppets) and client.ready(ChatId(CHANNEL))

        await self.at.bridge.until(ready)
        mark, body = self.witness.mark(), f"as myself: {peer.user_id}"
        await peer.send_text(self.rooms["irc"], body)
        self.nicks[peer.user_id] = (await self.witness.wait_text(body, CHANNEL, since=mark)).nick

    async def greet(self, body: str) -> None:
        """Each ghost says something, which both clients read."""
        await self.rust.send_text(self.rooms["echo"], body)
        await self.shown(self.rooms["echo"], ECHO, lambda event: event.body == body, body)
        self.witness.privmsg(CHANNEL, body)
        await self.shown(self.rooms["irc"], WANDA, lambda event: event.body == body, body)

    async def private(self, peer: Peer) -> str:
        """The room of a client's user and wanda, once they are invited to it."""
        key = PortalKey(NetworkId("irc"), ChatId("wanda"), LoginId(peer.user_id))
        engine = self.at.bridge.running.engine

        def made() -> str:
            row = engine.portals.get(key)
            return row.rooms[0] if row is not None and row.rooms else ""

        return str(await self.at.bridge.until(made))

    async def receive(self, event: RemoteEvent) -> None:
        """It happens on the scripted network."""
        assert self.at.script.inbox is not None
        await self.at.script.inbox.receive([event])

    async def sent(self, number: int) -> Any:
        """The event with this number that the scripted network was sent."""
        script = self.at.script
        await self.at.bridge.until(lambda: len(script.sent) > number)
        event: MatrixOutgoing = script.sent[number][1]
        return event

    async def shown(self, room: str, sender: str, fits: Callable[[PeerEvent], bool], what: str) -> PeerEvent:
        """The first such message of a sender: encrypted, shown without a shield, and the same to both clients."""
        seen = await self.rust.wait_for(
            lambda e: e.room_id == room and e.sender == sender and e.failure is None and e.encrypted and fits(e), what
        )
        seen = await self.rust.wait_unshielded(seen.event_id)
        other = await self.nio.wait_readable(seen.event_id)
        assert (other.encrypted, other.body, other.kind) == (True, seen.body, seen.kind)
        return seen

    async def noted(self, room: str, sender: str, fits: Callable[[PeerEvent], bool], what: str) -> PeerEvent:
        """The first such event of a kind that is never encrypted (reaction, redaction); both clients have it."""
        seen = await self.rust.wait_for(lambda e: e.room_id == room and e.sender == sender and fits(e), what)
        assert seen.shield is None
        await self.nio.wait_readable(seen.event_id)
        return seen

    async def told(self, room: str, about: str, words: str) -> PeerEvent:
        """The bot's words to an event."""

        def fits(event: PeerEvent) -> bool:
            relation = event.content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
            return relation == about and words in event.body

        return await self.shown(room, BOT, fits, f"{words!r} about {about}")

    async def restart(self) -> None:
        """Stop the bridge, and start it again from what is on disk."""
        await self.at.bridge.stop_bridge()
        await self.at.bridge.start_bridge()
        for peer in self.peers:
            await self.nick(peer)

    async def devices(self) -> list[dict[str, dict[str, Any]]]:
        """The devices of the bot and of the ghosts, as the Rust client is told of them now."""
        return [await self.rust.devices(user) for user in (BOT, ECHO, WANDA)]


@asynccontextmanager
async def meeting() -> AsyncIterator[Meeting]:
    """Everything, on a Synapse of its own."""
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    folder.chmod(0o755)
    ircd = InspIRCd(folder / "inspircd")
    async with synapse(folder, encryption=True, sender="bridgesender") as homeserver, AsyncExitStack() as stack:
        stack.callback(ircd.kill)
        await ircd.start()
        met = Meeting(homeserver, folder, ircd)
        async with asyncio.timeout(240):
            await met.open(stack)
        yield met
    shutil.rmtree(folder, ignore_errors=True)
