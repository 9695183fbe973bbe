"""The IRC adapter alone, with many puppets: no homeserver, no journal. Tells what it sees as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from bridge_core.api.events import RemoteEvent
from bridge_core.api.ids import ChatId, LoginId, NetworkId, UserId
from bridge_core.api.network import Accepted, Login, LoginState, LoginStatus
from bridges.irc.config import IrcConfig
from bridges.irc.connector import IrcConnector
from bridges.irc.puppet import Puppet


class Store:
    """A key-value store in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        """The value."""
        return self.values.get(key)

    async def put(self, key: str, value: bytes | None) -> None:
        """Keep or remove it."""
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    async def items(self, prefix: str) -> dict[str, bytes]:
        """All that begin so."""
        return {key: value for key, value in self.values.items() if key.startswith(prefix)}


class Host:
    """What the adapter uses of its host."""

    network = NetworkId("irc")

    def __init__(self, chats: tuple[ChatId, ...]) -> None:
        self.kv = self.secrets = Store()
        self.clock = self
        self.tasks = self
        self._chats = chats
        self._running: set[asyncio.Task[None]] = set()

    def now_ms(self) -> int:
        """The time."""
        return int(time.time() * 1000)

    def monotonic(self) -> float:
        """The time."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def chats(self) -> tuple[ChatId, ...]:
        """The one channel."""
        return self._chats

    def media_url(self, attachment: object) -> None:
        """None."""


class Inbox:
    """Drops what it is given, and keeps who was connected when."""

    def __init__(self) -> None:
        self.connected: list[str] = []
        self.up = asyncio.Event()

    async def receive(
        self, events: Sequence[RemoteEvent], *, cursor: bytes | None = None, state: Mapping[str, bytes] | None = None
    ) -> list[Accepted]:
        """Take them."""
        return [Accepted(number) for number, _ in enumerate(events)]

    def report(self, state: LoginState) -> None:
        """Note it."""
        if state.status is LoginStatus.CONNECTED:
            if state.login is None:
                self.up.set()
            else:
                self.connected.append(state.login)


async def serve(settings: dict[str, Any]) -> None:
    """Connect as many as asked for, then answer each line of the input."""
    count, chat = settings["puppets"], ChatId("#crowd")
    host, inbox = Host((chat,)), Inbox()
    connector = IrcConnector(NetworkId("irc"), IrcConfig(**settings["config"]))
    await connector.start(host, inbox)  # type: ignore[arg-type]
    await connector.client(None, inbox).connect(None)
    await inbox.up.wait()
    puppets: list[Puppet] = []
    path = settings.get("certificates")
    certificates: list[str] = json.loads(Path(path).read_text()) if path is not None else []

    def say(**what: Any) -> None:
        print(json.dumps(what), flush=True)

    say(ready=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        asked = json.loads(line)
        match asked["cmd"]:
            case "connect":
                for number in range(count):
                    secrets = {"certificate": certificates[number]} if certificates else {}
                    user = UserId(f"@u{number}:bench.test")
                    login = Login(LoginId(user), user, f"u{number}", True, secrets=secrets)
                    made = connector.client(login, inbox)
                    assert isinstance(made, Puppet)
                    puppets.append(made)
                    await made.prepare(chat)
                while not all(puppet.ready(chat) for puppet in puppets):
                    await asyncio.sleep(0.05)
                say(connected=len(inbox.connected))
            case "age":  # the first ones were not active for long
                for number, puppet in enumerate(puppets):
                    puppet._used_at = host.monotonic() - (10_000 if number < asked["idle"] else count - number)
                inbox.connected.clear()
                inbox.up.clear()
                say(aged=True)
            case "order":
                while len(inbox.connected) < asked["count"]:
                    await asyncio.sleep(0.05)
                say(order=inbox.connected[: asked["count"]])


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
