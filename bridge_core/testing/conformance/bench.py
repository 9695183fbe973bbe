"""What a test of an adapter stands on: a running bridge before a homeserver, a human there, the network behind it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.testing.conformance.subject import Subject

Event = dict[str, Any]


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

    async def sees(self, room: str, match: Callable[[Event], bool], timeout: float = 20) -> Event:
        """The first event of the room that matches, waiting for it. Raises TimeoutError."""

    async def timeline(self, room: str) -> list[Event]:
        """The last hundred events, oldest first."""


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

    async def until(self, reached: Callable[[], Any], timeout: float = 10.0) -> Any:
        """Wait until `reached()` is true."""


@dataclass
class Bench:
    """A bridge with one network, for all tests of a class; each test takes a place of its own."""

    bridge: Running
    human: Human
    subject: Subject
    server: str
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
        name = self.free.pop()
        chat: ChatId = self.bridge.running.networks.chat(self.network, name)
        alias = self.bridge.running.engine.names.alias(self.network, chat)
        room = await self.human.join(f"#{alias}:{self.server}")
        await self.subject.enter(chat)
        return Place(self, chat, room)

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

    async def told(self, text: str) -> Event:
        """The bot's notice that holds `text`."""
        bot = self.bench.bot

        def fits(event: Event) -> bool:
            return event["sender"] == bot and text.lower() in str(event["content"].get("body", "")).lower()

        return await self.bench.human.sees(self.room, fits)
