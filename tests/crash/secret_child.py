"""A bridge in a process of its own, with a network that says the same each time it connects: `SENDER TEXT` lines.

What the network is sent is added to the file `delivered` beside the configuration, a line each.
"""

import asyncio
import sys
from pathlib import Path

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.matrix import MatrixMessage, MatrixOutgoing
from bridge_core.api.network import Attempt, Inbox, Login, Sent
from bridge_core.app.bridge import Bridge
from bridge_core.config import load_config
from bridge_core.content.plain import to_plain
from tests.scripted import Script, ScriptedClient, ScriptedConnector


class _Client(ScriptedClient):
    async def connect(self, cursor: bytes | None) -> None:
        await super().connect(cursor)
        said = (line.partition(" ") for line in sys.argv[2:])
        await self._inbox.receive(
            [
                RemoteMessage(
                    ChatId("lobby"),
                    RemoteSender(RemoteUserId(name), name),
                    Content((Plain(text),)),
                    MessageId(f"{name} {text}"),
                )
                for name, _, text in said
            ]
        )


class _Connector(ScriptedConnector):
    def client(self, login: Login | None, inbox: Inbox) -> ScriptedClient:
        return _Client(self._script, login, inbox)


class _Lines(Script):
    def __call__(self, network, config):  # type: ignore[no-untyped-def]
        return _Connector(self, network)


async def main(config: Path) -> None:
    """Run until killed."""
    lines = _Lines()

    def answer(message: MatrixOutgoing, attempt: Attempt) -> Sent:
        with (config.parent / "delivered").open("a") as file:
            file.write(f"{to_plain(message.content.text) if isinstance(message, MatrixMessage) else message}\n")
        return Sent()

    lines.answer = answer
    await Bridge(load_config(config, {}), adapters={"scripted": lines}).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
