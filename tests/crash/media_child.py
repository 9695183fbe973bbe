"""A bridge in a process of its own, with a network that sends one picture each time it connects: always the same."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.network import Inbox, Login
from bridge_core.app.bridge import Bridge
from bridge_core.config import load_config
from tests.scripted import Script, ScriptedClient, ScriptedConnector

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000


class _Client(ScriptedClient):
    async def connect(self, cursor: bytes | None) -> None:
        await super().connect(cursor)
        host = self._script.host
        assert host is not None
        host.tasks.spawn(self._send(), "picture")

    async def _send(self) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield PICTURE

        host = self._script.host
        assert host is not None
        blob = await host.blobs.put(chunks(), len(PICTURE))
        file = Attachment(MediaKind.IMAGE, "cat.png", blob)
        content = Content((Plain("my cat"),), attachments=(file,))
        sender = RemoteSender(RemoteUserId("dora"), "Dora")
        await self._inbox.receive([RemoteMessage(ChatId("lobby"), sender, content, MessageId("cat"))])


class _Connector(ScriptedConnector):
    def client(self, login: Login | None, inbox: Inbox) -> ScriptedClient:
        return _Client(self._script, login, inbox)


class _Pictures(Script):
    def __call__(self, network, config):  # type: ignore[no-untyped-def]
        return _Connector(self, network)


async def main(config: Path) -> None:
    """Run until killed."""
    await Bridge(load_config(config, {}), adapters={"scripted": _Pictures()}).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
