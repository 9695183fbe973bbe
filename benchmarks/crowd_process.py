"""The IRC adapter alone, with many puppets: no homeserver, no journal. Tells what it sees as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from bridge_core.api.events import RemoteEvent
from bridge_core.api.ids import ChatId, LoginId, NetworkId, UserId
from bridge_core.api.network import Accepted, Login, LoginState, LoginStatus
from bridge_core.engine.clock import SystemClock
from bridge_core.testing.memory import KeptTasks, MemoryKV
from bridges.irc.config import IrcConfig
from bridges.irc.connector import IrcConnector
from bridges.irc.puppet import Puppet


class Host:
    """What the adapter uses of its host."""

    network = NetworkId("irc")

    def __init__(self, chats: tuple[ChatId, ...]) -> None:
        self.kv = self.secrets = MemoryKV()
        self.clock = SystemClock()
        self.tasks = KeptTasks()
        self._chats = chats

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
                    puppet._used_at = host.clock.monotonic() - (10_000 if number < asked["idle"] else count - number)
                inbox.connected.clear()
                inbox.up.clear()
                say(aged=True)
            case "order":
                while len(inbox.connected) < asked["count"]:
                    await asyncio.sleep(0.05)
                say(order=inbox.connected[: asked["count"]])


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
