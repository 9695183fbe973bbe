"""What tests of writing and sending mails stand on: a host in memory whose time is turned by hand."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, MessageId, NetworkId, UserId
from bridge_core.testing.memory import KeptTasks, MemoryBlobs, MemoryKV, MemoryQueue
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.ports import About, Draft

SECRET = b"s" * 32
NOW = 1_700_000_000_000
SUPPORT = Address("support", "example.org", "Alice (Support)")
BOB = Address("bob", "there.test", "Bob")


class HandClock:
    """Time that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = NOW

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()

    def turn(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


class MailHost:
    """The parts of `Host` that writing and sending use."""

    def __init__(self) -> None:
        self.network = NetworkId("mail")
        self.clock = HandClock()
        self.blobs = MemoryBlobs()
        self.tasks = KeptTasks()
        self.kv = MemoryKV()
        self.secrets = MemoryKV()
        self.http: Any = None
        self.queues: dict[str, MemoryQueue] = {}
        self.media: dict[str, bytes] = {}
        self.links = True

    def queue(self, name: str) -> MemoryQueue:
        return self.queues.setdefault(name, MemoryQueue())

    async def open(self, attachment: Attachment) -> AsyncIterator[bytes]:
        if attachment.source not in self.media:
            raise RejectedError("the file is gone")
        data = self.media[attachment.source]
        for at in range(0, len(data), 1000):
            yield data[at : at + 1000]

    def media_url(self, attachment: Attachment) -> str | None:
        return f"https://media.test/{attachment.source[-1]}" if self.links else None

    def file(self, name: str, data: bytes, mime: str | None, kind: MediaKind = MediaKind.FILE) -> Attachment:
        """A file on Matrix with these bytes."""
        source = f"mxc://hs.test/{len(self.media)}"
        self.media[source] = data
        return Attachment(kind, name, source, mime, len(data))


def draft(text: str = "Hello", *, key: str = "k", **changes: Any) -> Draft:
    """A mail from the support mailbox to Bob."""
    values: dict[str, Any] = {"content": Content((Plain(text),)), "to": (BOB,), "written_at": NOW, "subject": "Hi"}
    return Draft(key, **{"author": SUPPORT, **values, **changes})


def about(message: str, *, user: str = "@alice:hs.test", thread: str = "t") -> About:
    """Where a mail belongs."""
    return About(ChatId("support@example.org"), MessageId(message), UserId(user), SUPPORT.named(""), thread)


def person(text: str) -> Address:
    """An address of somebody."""
    return parse_address(text)
