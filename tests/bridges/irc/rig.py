"""An IRC adapter without a bridge around it: a host and an inbox that remember, on any server."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from bridge_core.api.content import Attachment, Content, Kind, Node, Plain
from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.events import RemoteEvent, RemoteMessage
from bridge_core.api.ids import ChatId, EventId, NetworkId, RoomId, UserId
from bridge_core.api.matrix import MatrixMessage, MatrixSender, MessageRef
from bridge_core.api.network import Accepted, LoginState, LoginStatus, Sent
from bridge_core.api.staff import Block, Kicked
from bridge_core.content import to_plain
from bridge_core.engine.clock import SystemClock
from bridge_core.testing.memory import KeptTasks, MemoryKV
from bridges.irc.config import IrcConfig
from bridges.irc.connector import IrcConnector
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness
from bridges.irc.observer import Observer
from bridges.irc.puppet import Puppet
from tests.harness import Harness

PATIENCE = 60.0
StartRig = Callable[..., Awaitable["Rig"]]
StartServer = Callable[..., Awaitable[DemoIrcServer]]
Bridged = Callable[..., Harness]
"""Makes a whole bridge, with these settings of its network."""


class Bucket:
    """A token bucket that counts and never makes anyone wait."""

    def __init__(self) -> None:
        self.taken = 0.0

    async def take(self, amount: float = 1.0) -> None:
        self.taken += amount
        await asyncio.sleep(0)


class FakeRooms:
    """Who is in the rooms of chats."""

    def __init__(self) -> None:
        self.inside: dict[str, frozenset[UserId]] = {}

    async def members(self, chat: ChatId) -> frozenset[UserId] | None:
        return self.inside.get(chat, frozenset())


class FakeStaff:
    """A `Staff` that remembers what it was told."""

    def __init__(self) -> None:
        self.acts: list[tuple[str, ...]] = []
        self.logins = [UserId("@anna:hs.test"), UserId("@ben:evil.test")]

    async def block(self, mask: str, by: str, reason: str = "") -> int:
        if mask == "*":
            raise RejectedError("that would be everybody")
        self.acts.append(("block", mask, by, reason))
        return 1

    async def unblock(self, mask: str, by: str) -> None:
        self.acts.append(("unblock", mask, by))

    def blocked(self) -> tuple[Block, ...]:
        return (Block("evil.test", "oper", 0, "spam"),)

    def users(self) -> tuple[UserId, ...]:
        return tuple(self.logins)

    async def kick(self, user: UserId, by: str, reason: str = "") -> Kicked:
        self.acts.append(("kick", user, by, reason))
        return Kicked(2, 1)

    async def revoke(self, what: str, by: str) -> int:
        self.acts.append(("revoke", what, by))
        return 1

    async def stop(self, by: str, reason: str = "") -> None:
        self.acts.append(("stop", by, reason))

    async def start(self, by: str) -> None:
        self.acts.append(("start", by))

    async def note(self, act: str, by: str) -> None:
        self.acts.append(("note", act, by))


class TurnedClock(SystemClock):
    """Real time, which a test turns on by adding seconds to `ahead`; waits stay as long as they are."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return super().monotonic() + self.ahead


class FakeHost:
    """The parts of `Host` that the adapter uses."""

    def __init__(self, chats: Sequence[str]) -> None:
        self.network = NetworkId("irc")
        self.kv = MemoryKV()
        self.secrets = MemoryKV()
        self.rooms = FakeRooms()
        self.staff = FakeStaff()
        self.clock = TurnedClock()
        self.tasks = KeptTasks()
        self.buckets: dict[str, Bucket] = {}
        self.links = True
        self.texts: dict[str, str] = {}
        self.common: dict[str, Any] = {}
        self._chats = tuple(ChatId(chat) for chat in chats)

    def budget(self, key: str, rate: float, burst: float) -> Bucket:
        return self.buckets.setdefault(key, Bucket())

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.common:
            self.common[name] = make()
        return self.common[name]

    def media_url(self, attachment: Attachment) -> str | None:
        if not self.links or attachment.keys is not None:
            return None
        return f"https://media.test/{attachment.name.replace(' ', '_')}"

    async def text_url(self, message: MatrixMessage, text: str) -> str | None:
        event = message.event_id
        self.texts[event] = text
        return f"https://media.test/text/{event[1:]}" if self.links else None

    def chats(self) -> tuple[ChatId, ...]:
        return self._chats


class FakeInbox:
    """Keeps what it is given; `gate` holds `receive` back while it is cleared."""

    def __init__(self) -> None:
        self.events: list[RemoteEvent] = []
        self.states: list[LoginState] = []
        self.batches: list[int] = []
        self.kv: MemoryKV | None = None
        """Where the values go that are stored with events."""
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Event()

    async def receive(
        self, events: Sequence[RemoteEvent], *, cursor: bytes | None = None, state: Mapping[str, bytes] | None = None
    ) -> list[Accepted]:
        await self.gate.wait()
        self.events += events
        if self.kv is not None:
            self.kv.values.update(state or {})
        self.batches.append(len(events))
        self._changed.set()
        return [Accepted(number) for number, _ in enumerate(events)]

    def report(self, state: LoginState) -> None:
        self.states.append(state)
        self._changed.set()

    async def until(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Waits until the condition holds after something came in."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @property
    def messages(self) -> list[RemoteMessage]:
        """Messages, in order."""
        return [event for event in self.events if isinstance(event, RemoteMessage)]

    @property
    def texts(self) -> list[str]:
        """The plain texts of messages, in order."""
        return [to_plain(message.content.text) for message in self.messages]

    async def text(self, text: str, timeout: float = PATIENCE) -> RemoteMessage:
        """Waits for a message with this text."""
        await self.until(lambda: text in self.texts, timeout)
        return self.messages[self.texts.index(text)]

    async def status(self, status: LoginStatus, login: str | None = None, *, count: int = 1) -> LoginState:
        """Waits until a login (None: the observer) has reported a status so many times."""

        def found() -> list[LoginState]:
            return [state for state in self.states if state.status is status and state.login == login]

        await self.until(lambda: len(found()) >= count)
        return found()[count - 1]


class FakeAttempt:
    """The first try."""

    key = "key"
    number = 1
    state: bytes | None = None

    async def save(self, state: bytes) -> None:
        """Keeps nothing."""


class Rig:
    """A connector with its observer, puppets as asked for, and witnesses, on one server."""

    def __init__(self, port: int, chats: Sequence[str] = ("#a",), *, host: str = "127.0.0.1", **config: Any) -> None:
        settings = {
            "server": host,
            "port": port,
            "tls": False,
            "rate": 0,
            "connect_rate": 0,
            "reconnect_min": 0.05,
            "reconnect_max": 0.5,
            "nick": "relay",
            "hybrid": {"puppet": "always"},
            **config,
        }
        settings["messages"] = {"merge": False, **config.get("messages", {})}  # each line is counted
        self.port = port
        self.config = IrcConfig(**settings)
        self.host = FakeHost(chats)
        self.inbox = FakeInbox()
        self.inbox.kv = self.host.kv
        self.connector = IrcConnector(NetworkId("irc"), self.config)
        self.puppets: dict[str, Puppet] = {}
        self.witnesses: list[Witness] = []
        self._events = 0

    async def start(self) -> "Rig":
        """Connects the observer and waits until it is in its channels."""
        await self.connector.start(self.host, self.inbox)  # type: ignore[arg-type]
        self.observer = self.connector.client(None, self.inbox)
        assert isinstance(self.observer, Observer)
        await self.observer.connect(None)
        await self.inbox.status(LoginStatus.CONNECTED)
        for chat in self.host.chats():
            assert await self.observer.chat_info(chat) is not None, chat
        return self

    async def stop(self) -> None:
        """Stops everything; nothing may be left running and nothing may have failed unseen."""
        for witness in self.witnesses:
            await witness.close()
        for puppet in self.puppets.values():
            await puppet.disconnect()
        if hasattr(self, "observer"):
            await self.observer.disconnect()
        await self.connector.stop(time.monotonic() + 1)
        async with asyncio.timeout(60):
            while self.host.tasks.running:
                await asyncio.wait(set(self.host.tasks.running))
        assert self.host.tasks.errors == []

    async def witness(self, nick: str, *channels: str, caps: Sequence[str] = ()) -> Witness:
        """A raw client in these channels."""
        witness = await Witness.connect("127.0.0.1", self.port, nick, caps=caps)
        self.witnesses.append(witness)
        for channel in channels:
            await witness.join(channel)
        return witness

    async def make_puppet(self, user: str, name: str | None = None) -> Puppet:
        """A puppet, not connected yet."""
        name = name or user[1:].partition(":")[0]
        login = await self.connector.provide(UserId(user), name)
        assert login is not None
        client = self.connector.client(login, self.inbox)
        assert isinstance(client, Puppet)
        self.puppets[user] = client
        return client

    async def puppet(self, user: str, chat: str = "#a", name: str | None = None) -> Puppet:
        """A puppet that is ready to speak."""
        client = self.puppets.get(user) or await self.make_puppet(user, name)
        with contextlib.suppress(NotConnectedError):  # who has logged in is waited for
            await client.prepare(ChatId(chat))
        await eventually(lambda: client.ready(ChatId(chat)))
        return client

    def message(
        self,
        text: str | Node | tuple[Node, ...],
        chat: str = "#a",
        user: str = "@anna:hs.test",
        name: str = "Anna",
        *,
        kind: Kind = Kind.TEXT,
        relayed: bool = False,
        reply_to: MessageRef | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> MatrixMessage:
        """A message from Matrix."""
        self._events += 1
        if isinstance(text, str):
            text = (Plain(text),) if text else ()
        elif not isinstance(text, tuple):
            text = (text,)
        return MatrixMessage(
            RoomId("!r"),
            EventId(f"${self._events}"),
            ChatId(chat),
            MatrixSender(UserId(user), name),
            Content(text, kind, attachments),
            self.host.clock.now_ms(),
            reply_to,
            relayed=relayed,
        )

    async def relay(self, text: str | Node | tuple[Node, ...], **how: Any) -> Sent:
        """Sends over the relay and waits for the proof."""
        sent = await self.observer.send(self.message(text, relayed=True, **how), FakeAttempt())
        return await confirmed(sent)

    async def say(self, client: Puppet, text: str | Node | tuple[Node, ...], **how: Any) -> Sent:
        """Sends over a puppet and waits for the proof."""
        return await confirmed(await client.send(self.message(text, **how), FakeAttempt()))


async def confirmed(sent: Sent) -> Sent:
    """The final result of a message."""
    if sent.confirmation is None:
        return sent
    async with asyncio.timeout(PATIENCE):
        return await sent.confirmation


async def real(server: Any) -> Any:
    """A real server on which `make_op` works; it is restarted for that."""
    if hasattr(server, "modules"):
        server.modules.append("samode")
        await server.restart()
    return server


async def make_op(server: Any, witness: Witness, channel: str) -> None:
    """Makes a witness operator of a channel, on servers that do not give that to whoever comes first, too."""
    if hasattr(server, "modules"):
        witness.raw("OPER op oppw")
        witness.raw(f"SAMODE {channel} +o {witness.nick}")
    await witness.sync()


async def eventually(condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Waits for something that tells nobody when it happens."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)
