"""A bridge process with a network whose servers are a folder, so that the network outlives every kill of the bridge.

`tape` holds what happened there, an event in each line, and `heard` what it was sent. The bridge is given what is on
the tape behind its cursor until it has acknowledged it.
"""

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bridge_core.api.content import Content
from bridge_core.api.errors import TransientError
from bridge_core.api.events import RemoteEvent, RemoteMessage, RemoteSender
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId, UserId
from bridge_core.api.info import ChatInfo, UserInfo
from bridge_core.api.matrix import MatrixMember, MatrixMessage, MatrixOutgoing, MatrixPower
from bridge_core.api.network import (
    Attempt,
    Capabilities,
    History,
    Inbox,
    Level,
    Login,
    LoginState,
    LoginStatus,
    NetworkMeta,
    Sent,
)
from bridge_core.app.bridge import Bridge
from bridge_core.config import load_config
from bridge_core.engine.payload import VERSION, decode, encode
from bridge_core.observe.log import setup_logging

NET = NetworkId("stage")
LOGIN = LoginId("me")
_PAGE = 4
_POLL = 0.02


class Tape:
    """The network's servers, as both processes see them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.tape, self._heard, self.refuses = folder / "tape", folder / "heard", folder / "refuses"
        self.tape.touch()
        self._heard.touch()

    def happens(self, *events: RemoteEvent) -> None:
        """These happen on the network, all at once."""
        with self.tape.open("ab") as file:
            file.write(b"".join(base64.b64encode(encode(event)) + b"\n" for event in events))

    def after(self, place: int) -> list[tuple[RemoteEvent, int]]:
        """What happened after a place, each with the place behind it."""
        found = []
        with self.tape.open("rb") as file:
            file.seek(place)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                place += len(line)
                found.append((decode(base64.b64decode(line), VERSION), place))
        return found  # type: ignore[return-value]

    def take(self, told: dict[str, Any]) -> None:
        """The network was sent something."""
        with self._heard.open("a") as file:
            file.write(json.dumps(told) + "\n")

    def heard(self) -> list[dict[str, Any]]:
        """What the network was sent, once per key as it knows them."""
        told = [json.loads(line) for line in self._heard.read_text().splitlines()]
        return list({one["key"]: one for one in reversed(told)}.values())[::-1]

    def upload(self, name: str, data: bytes) -> str:
        """A file on the network, and what an attachment's source is there."""
        (self.folder / name).write_bytes(data)
        return f"file:{name}"


class StagedConfig(BaseModel):
    """`keeps`: what was said while nobody was connected is told as history only. `timer` as of ChatInfo.expiry."""

    folder: Path
    keeps: bool = False
    timer: int | None = None


class StagedConnector:
    """A network in a folder."""

    config_model = StagedConfig

    def __init__(self, network: NetworkId, config: StagedConfig) -> None:
        self.meta = NetworkMeta(network, "Stage", "stage", idempotent=True)
        self.config = config
        self.tape = Tape(config.folder)
        self.curtain = asyncio.Event()
        self.host: Host | None = None
        self.inbox: Inbox | None = None

    async def start(self, host: Host, inbox: Inbox) -> None:
        self.host, self.inbox = host, inbox

    async def stop(self, deadline: float) -> None:
        pass

    def client(self, login: Login | None, inbox: Inbox) -> "StagedClient":
        return (KeepingClient if self.config.keeps and login is None else StagedClient)(self, login, inbox)

    def chat(self, text: str) -> ChatId:
        return ChatId(text)


class StagedClient:
    """The network-wide client reads the tape; that of the login only speaks."""

    def __init__(self, connector: StagedConnector, login: Login | None, inbox: Inbox) -> None:
        self._connector = connector
        self._tape = connector.tape
        self._login = login
        self._inbox = inbox
        self._reading: asyncio.Task[None] | None = None

    async def connect(self, cursor: bytes | None) -> None:
        if self._login is None:
            assert self._connector.host is not None
            place = self._begin(int(cursor or 0))
            self._reading = self._connector.host.tasks.spawn(self._read(place), "tape")
        login = self._login.id if self._login else None
        self._inbox.report(LoginState(NET, login, LoginStatus.CONNECTED))

    def _begin(self, cursor: int) -> int:
        return cursor

    async def _read(self, place: int) -> None:
        await self._connector.curtain.wait()
        while True:
            found = self._tape.after(place)
            if found:
                events = [await self._fetched(event) for event, _ in found]
                place = found[-1][1]
                await self._inbox.receive(events, cursor=str(place).encode())
            await asyncio.sleep(_POLL)

    async def _fetched(self, event: RemoteEvent) -> RemoteEvent:
        """The event with its files in the spool, as adapters put them there."""
        if isinstance(event, RemoteMessage):
            files = [
                replace(one, source=await self._blob(one.source)) if one.source.startswith("file:") else one
                for one in event.content.attachments
            ]
            event = replace(event, content=replace(event.content, attachments=tuple(files)))
        if isinstance(event, RemoteMessage) and (event.sender.avatar or "").startswith("file:"):
            picture = await self._picture(event.sender.avatar or "")
            event = replace(event, sender=replace(event.sender, avatar=picture))
        return event

    async def _picture(self, source: str) -> str:
        """Always the same address for the same picture, as the contract wants it."""
        assert self._connector.host is not None
        known = await self._connector.host.kv.get(source)
        if known is None:
            known = (await self._blob(source)).encode()
            await self._connector.host.kv.put(source, known)
        return known.decode()

    async def _blob(self, source: str) -> str:
        async def read() -> AsyncIterator[bytes]:
            yield (self._tape.folder / source.removeprefix("file:")).read_bytes()

        assert self._connector.host is not None
        return await self._connector.host.blobs.put(read(), 1 << 20)

    async def disconnect(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        files = []
        for file in message.content.attachments:
            assert self._connector.host is not None
            data = b"".join([chunk async for chunk in self._connector.host.open(file)])
            files.append(data.hex())
        text = "".join(getattr(node, "text", "") for node in message.content.text)
        return self._take(message, attempt, text=text, files=files)

    async def moderate(self, act: MatrixMember | MatrixPower, attempt: Attempt) -> Sent:
        return self._take(act, attempt)

    def _take(self, message: MatrixOutgoing, attempt: Attempt, **more: Any) -> Sent:
        if self._tape.refuses.exists():
            raise TransientError("the curtain is down")
        kind, login = type(message).__name__, self._login.id if self._login else None
        self._tape.take({"key": attempt.key, "kind": kind, "login": login, "chat": message.chat, **more})
        return Sent()

    async def chat_info(self, chat: ChatId) -> ChatInfo | None:
        return ChatInfo(name=chat, expiry=self._connector.config.timer)

    async def user_info(self, user: RemoteUserId) -> UserInfo:
        return UserInfo()

    def capabilities(self, chat: ChatId) -> Capabilities:
        return Capabilities(default=Level.FULL)


class KeepingClient(StagedClient):
    """A client that is told live only what happens while it is connected, and asks for the rest. Cursors are places."""

    def __init__(self, connector: StagedConnector, login: Login | None, inbox: Inbox) -> None:
        super().__init__(connector, login, inbox)
        self._places: dict[str, int] = {}

    def _begin(self, cursor: int) -> int:
        return self._tape.tape.stat().st_size

    async def _fetched(self, event: RemoteEvent) -> RemoteEvent:
        self._places = {said.id or "": place for said, place in self._tape.after(0) if isinstance(said, RemoteMessage)}
        return await super()._fetched(event)

    def remembers(self) -> bool:
        return True

    async def history(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        said = [
            (event, place)
            for event, place in self._tape.after(int(after or 0))
            if isinstance(event, RemoteMessage) and event.chat == chat
        ]
        told = said[: min(limit, _PAGE)] if after is not None else said[-limit:]
        cursor = str(told[-1][1]).encode() if told else after
        return History(tuple(event for event, _ in told), cursor, more=len(told) < len(said), public=True)

    def reached(self, event: RemoteEvent) -> bytes | None:
        place = self._places.get(getattr(event, "id", None) or "")
        return str(place).encode() if place is not None else None


def sender(name: str, *, me: bool = False, avatar: str | None = None) -> RemoteSender:
    """Somebody there; `me` is the login itself, speaking from another device."""
    return RemoteSender(RemoteUserId(name), name, LOGIN if me else None, avatar)


def text_of(content: Content) -> str:
    """The plain text of what was said."""
    return "".join(getattr(node, "text", "") for node in content.text)


def main(arguments: Sequence[str]) -> int:
    """Run with the configuration that is the one argument; the exit code."""
    asyncio.run(_serve(Path(arguments[0])))
    return 0


async def _serve(path: Path) -> None:
    """Run until SIGTERM. `login` beside the configuration names the Matrix user who has the one login, if anybody."""
    loaded = load_config(path, {})
    setup_logging(loaded.config.logging.level, loaded.config.logging.format)
    bridge = Bridge(loaded, adapters={"stage": StagedConnector})
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await bridge.start()
    network = bridge.networks.get(NET)
    assert network is not None
    owner = path.parent / "login"
    if owner.exists() and network.login_of(LOGIN) is None:
        await network.add(Login(LOGIN, UserId(owner.read_text()), "Me"))
    connector = network.connector
    assert isinstance(connector, StagedConnector)
    connector.curtain.set()
    await ended.wait()
    await bridge.stop(asyncio.get_running_loop().time() + 10)
