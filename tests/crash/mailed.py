"""A bridge process with an email network that dies before or after any durable step of its adapter.

Everything the adapter keeps goes through its host and its inbox. Each such step is two fault points here,
`NAME.before` and `NAME.after`:

    mail.raw        a file is put into the spool: a mail at the door, a file of a mail, a mail that was composed
    mail.accepted   a mail is taken over, before the 250           mail.opened  a mail is read, for its parsing
    mail.received   what it became is handed to the core           mail.done    it leaves the spool
    mail.submitted  a mail to be sent is taken over                mail.kept    a row of what is known of mails
    mail.tried      tries are recorded, before they are made       mail.ended   the end of a mail is recorded
    mail.dropped    a file leaves the spool
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from bridge_core.api.events import RemoteEvent
from bridge_core.api.host import KV, Blobs, Host
from bridge_core.api.network import Accepted, Inbox
from bridge_core.api.queues import Queue, QueueItem
from bridge_core.app.bridge import Bridge
from bridge_core.config import load_config
from bridge_core.observe.log import setup_logging
from bridge_core.testing.faults import KillingFaults
from bridges.email.connector import EmailConnector
from bridges.email.delivery.rows import DONE, QUEUE, WAITING


class _Fragile:
    """A part of the host: as it is, but for what a subclass does otherwise."""

    def __init__(self, part: Any, faults: KillingFaults) -> None:
        self._part = part
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    async def _step(self, name: str, work: Any) -> Any:
        self._faults.hit(f"{name}.before")
        done = await work
        self._faults.hit(f"{name}.after")
        return done


class FragileQueue(_Fragile):
    """A queue whose commits are named by what they are of."""

    def __init__(self, name: str, part: Queue, faults: KillingFaults) -> None:
        super().__init__(part, faults)
        self._name = name

    async def put(self, items: Sequence[QueueItem] = (), *, removed: Sequence[str] = ()) -> None:
        await self._step(self._what(items), self._part.put(items, removed=removed))

    def _what(self, items: Sequence[QueueItem]) -> str:
        if self._name == "incoming":
            return "mail.accepted" if any(item.body and not item.attempts for item in items) else "mail.done"
        if self._name == QUEUE:
            if any(item.key.startswith(DONE) for item in items):
                return "mail.ended"
            fresh = any(item.key.startswith(WAITING) and not item.attempts for item in items)
            return "mail.submitted" if fresh else "mail.tried"
        return f"mail.{self._name}"


class FragileBlobs(_Fragile):
    """A spool of files."""

    async def put(self, chunks: AsyncIterator[bytes], limit: int) -> str:
        return str(await self._step("mail.raw", self._part.put(chunks, limit)))

    async def drop(self, source: str) -> None:
        await self._step("mail.dropped", self._part.drop(source))

    async def open(self, source: str) -> AsyncIterator[bytes]:
        self._faults.hit("mail.opened.before")
        async for chunk in self._part.open(source):
            yield chunk
        self._faults.hit("mail.opened.after")


class FragileKV(_Fragile):
    """What is known of mails."""

    async def put(self, key: str, value: bytes | None) -> None:
        await self._step("mail.kept", self._part.put(key, value))


class FragileHost(_Fragile):
    """A host of such parts."""

    def __init__(self, part: Host, faults: KillingFaults) -> None:
        super().__init__(part, faults)
        self.kv: KV = FragileKV(part.kv, faults)
        self.blobs: Blobs = FragileBlobs(part.blobs, faults)
        self._queues: dict[str, FragileQueue] = {}

    def queue(self, name: str) -> FragileQueue:
        if name not in self._queues:
            self._queues[name] = FragileQueue(name, self._part.queue(name), self._faults)
        return self._queues[name]


class FragileInbox(_Fragile):
    """The way into the core."""

    async def receive(
        self,
        events: Sequence[RemoteEvent],
        *,
        cursor: bytes | None = None,
        state: Mapping[str, bytes] | None = None,
    ) -> list[Accepted]:
        done = await self._step("mail.received", self._part.receive(events, cursor=cursor, state=state))
        assert isinstance(done, list)
        return done


class FragileConnector(EmailConnector):
    """The adapter itself, on such a host."""

    async def start(self, host: Host, inbox: Inbox) -> None:
        faults = KillingFaults()
        fragile: Any = FragileHost(host, faults)
        way_in: Any = FragileInbox(inbox, faults)
        await super().start(fragile, way_in)


def main(arguments: Sequence[str]) -> int:
    """Run with the configuration that is the one argument; the exit code."""
    uvloop.run(_serve(Path(arguments[0])))
    return 0


async def _serve(path: Path) -> None:
    loaded = load_config(path, {})
    setup_logging(loaded.config.logging.level, loaded.config.logging.format)
    bridge = Bridge(loaded, adapters={"email": FragileConnector})
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await bridge.start()
    await ended.wait()
    await bridge.stop(asyncio.get_running_loop().time() + 10)
