"""What a test of an adapter stands on: a running bridge before a homeserver, a human there, the network behind it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from bridge_core.api.ids import ChatId, NetworkId, RoomId, UserId
from bridge_core.api.optional import Puppets, WatchesChats
from bridge_core.testing.conformance.subject import Subject

Event = dict[str, Any]


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so. Raises TimeoutError after a minute."""
    async with asyncio.timeout(60):
        while True:
            if await look():
                return
            await asyncio.sleep(0.03)


class Human(Protocol):
    """A raw client of one Matrix user. It shares nothing with the bridge."""

    id: str

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A request below /_matrix/client/v3/."""

    async def send(self, room: str, body: str, msgtype: str = "m.text", **more: Any) -> str:
        """Send a message; its id."""

    async def send_event(self, room: str, content: dict[str, Any], event_type: str = "m.room.message") -> str:
        """Send any event; its id."""

    async def edit(self, room: str, event: str, body: str) -> str:
        """Change a text."""

    async def react(self, room: str, event: str, key: str) -> str:
        """React to an event."""

    async def redact(self, room: str, event: str, reason: str = "") -> str:
        """Redact an event."""

    async def join(self, room_or_alias: str) -> str:
        """Join; the room's id."""

    async def upload(self, data: bytes, mime: str, name: str) -> str:
        """Upload a file; its address."""

    async def download(self, mxc: str) -> bytes:
        """A file's bytes."""

    async def sees(self, room: str, match: Callable[[Event], bool], timeout: float = 60) -> Event:
        """The first event of the room that matches, waiting for it. Raises TimeoutError."""

    async def timeline(self, room: str) -> list[Event]:
        """The last hundred events, oldest first."""

    async def type(self, room: str, milliseconds: int = 30_000) -> None:
        """Begin to type, or (0) end."""

    async def read(self, room: str, event: str) -> None:
        """Have read everything up to an event."""


class Server(Protocol):
    """What a homeserver has besides its rooms."""

    async def human(self) -> Any:
        """Another `Human`."""

    async def readers(self, human: Any, room: str) -> dict[str, str]:
        """Up to which event each user has read, as the human sees it."""

    async def typists(self, human: Any, room: str) -> set[str]:
        """Who types, as the human sees it."""


class Running(Protocol):
    """A bridge in this process that can be stopped and started again on the same database."""

    @property
    def running(self) -> Any:
        """The bridge (`bridge_core.app.bridge.Bridge`)."""

    async def start_bridge(self) -> Any:
        """Start it and wait until it is ready."""

    async def stop_bridge(self) -> None:
        """Stop it in good order."""

    async def settled(self) -> None:
        """Wait until nothing is on its way in either direction."""

    async def until(self, reached: Callable[[], Any], timeout: float = 60) -> Any:
        """Wait until `reached()` is true."""


@dataclass
class Bench:
    """A bridge with one network, for all tests of a class; each test takes a place of its own."""

    bridge: Running
    human: Human
    subject: Subject
    homeserver: Server
    free: list[str] = field(default_factory=list)

    @property
    def network(self) -> NetworkId:
        """The network's name."""
        return NetworkId(self.subject.network)

    @property
    def bot(self) -> str:
        """The bridge's own user."""
        return str(self.bridge.running.matrix.bot)

    async def place(self) -> "Place":
        """A chat that nobody used, the human in its room, and people of the network in the chat."""
        return await self.bridged(self.name())

    def name(self) -> str:
        """The name of a chat that nobody used."""
        if not self.free:
            self.free.extend(reversed(self.subject.chats(200)))
        return self.free.pop()

    def chat(self, name: str) -> ChatId:
        """The chat of this name."""
        chat: ChatId = self.bridge.running.networks.chat(self.network, name)
        return chat

    async def bridged(self, name: str) -> "Place":
        """A chat of this name, as `place`."""
        bridge = self.bridge.running
        chat = self.chat(name)
        await self.subject.prepare(chat)
        await bridge.engine.portals.ensure(self.network, chat, name=name)
        connector = bridge.networks.get(self.network).connector
        if isinstance(connector, WatchesChats):
            await connector.chat_added(chat)
        alias = bridge.engine.names.alias(self.network, chat)
        room = await self.human.join(f"#{alias}:{bridge.matrix.server_name}")
        await self.subject.enter(chat)
        return Place(self, chat, room)

    async def room_of_ones_own(self) -> str:
        """A room that the human made for themselves and a guest, with the bot in it."""
        guest = await self.homeserver.human()
        body = {"preset": "private_chat", "invite": [guest.id]}
        room = str((await self.human.call("POST", "createRoom", body))["room_id"])
        await guest.join(room)
        await self.human.call("POST", f"rooms/{room}/invite", {"user_id": self.bot})

        def came(event: Event) -> bool:
            return bool(event.get("state_key") == self.bot and event["content"].get("membership") == "join")

        await self.human.sees(room, came)
        return room

    async def answer(self, room: str, text: str) -> tuple[str, str]:
        """Say something to the bot: the id of what was said, and the words that it answers to that."""
        said = await self.human.send(room, text)

        def answers(event: Event) -> bool:
            about = (event["content"].get("m.relates_to") or {}).get("m.in_reply_to", {}).get("event_id")
            return bool(event["sender"] == self.bot and about == said)

        return said, str((await self.human.sees(room, answers))["content"]["body"])

    async def introduce(self, place: "Place") -> str:
        """The human says something, and waits until their own connection would speak, where the network gives one.

        What they are called on the network then.
        """
        network = self.bridge.running.networks.get(self.network)
        await self.human.send(place.room, "good day to you all")
        heard = await self.subject.heard(place.chat, "good day to you all")
        client = network.client_of(UserId(self.human.id))
        if isinstance(client, Puppets):
            puppet = client
            await self.bridge.until(lambda: puppet.ready(place.chat))
            await self.human.send(place.room, "good day again")
            heard = await self.subject.heard(place.chat, "good day again")
        await self.bridge.settled()
        return heard.by

    async def empower(self, place: "Place") -> None:
        """The human may moderate the room."""
        matrix, room = self.bridge.running.matrix, RoomId(place.room)
        levels = await matrix.state(room, "m.room.power_levels")
        users = {**levels.get("users", {}), self.human.id: 50}
        await matrix.set_state(room, "m.room.power_levels", "", {**levels, "users": users}, matrix.bot)

    def ghost(self, who: str) -> UserId:
        """Somebody's ghost."""
        ghost: UserId = self.bridge.running.engine.names.ghost(self.network, self.subject.person(who))
        return ghost

    async def restart(self, *places: "Place") -> None:
        """Stop and start the bridge; the network's people are in these places again."""
        await self.bridge.stop_bridge()
        await self.bridge.start_bridge()
        for place in places:
            await self.subject.enter(place.chat)

    async def balances(self) -> None:
        """Every delivery has ended in a counted state: the rows say the same as the counters (invariant 2)."""
        await self.bridge.settled()
        audit = await self.bridge.running.journal.audit()
        assert audit.holds, audit.balances


@dataclass(frozen=True)
class Place:
    """One bridged chat and its room."""

    bench: Bench
    chat: ChatId
    room: str

    async def sees(self, who: str, match: Callable[[Event], bool]) -> Event:
        """The first event of somebody's ghost that matches; waits for it."""
        ghost = self.bench.ghost(who)
        return await self.bench.human.sees(self.room, lambda event: event["sender"] == ghost and match(event))

    async def reads(self, who: str, text: str) -> Event:
        """The first message of somebody's ghost whose body holds `text`."""
        return await self.sees(
            who, lambda event: event["type"] == "m.room.message" and text in str(event["content"].get("body"))
        )

    async def bodies(self, who: str) -> list[str]:
        """What somebody's ghost has said, in order."""
        ghost = self.bench.ghost(who)
        return [
            str(event["content"]["body"])
            for event in await self.bench.human.timeline(self.room)
            if event["sender"] == ghost and event["type"] == "m.room.message" and "body" in event["content"]
        ]

    async def member(self, who: str, membership: str) -> Event:
        """Wait until somebody's ghost is this in the room: the event that made it so."""
        ghost = self.bench.ghost(who)
        state = f"rooms/{self.room}/state/m.room.member/{quote(ghost)}"

        async def is_so() -> bool:
            return bool((await self.bench.human.call("GET", state)).get("membership") == membership)

        await eventually(is_so)

        def fits(event: Event) -> bool:
            return event.get("state_key") == ghost and event["content"].get("membership") == membership

        return [event for event in await self.bench.human.timeline(self.room) if fits(event)][-1]

    async def has_state(self, event_type: str, key: str, value: object) -> None:
        """Wait until a key of the room's state is this."""

        async def is_so() -> bool:
            content = await self.bench.human.call("GET", f"rooms/{self.room}/state/{event_type}")
            return bool(content.get(key) == value)

        await eventually(is_so)

    async def told(self, text: str) -> Event:
        """The bot's notice that holds `text`."""
        bot = self.bench.bot

        def fits(event: Event) -> bool:
            return event["sender"] == bot and text.lower() in str(event["content"].get("body", "")).lower()

        return await self.bench.human.sees(self.room, fits)
