"""What the tests of the invariants share: fault points that hold, requests recorded, a look at the database's files."""

import asyncio
import io
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteEvent, RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from tests.harness import Harness
from tests.scripted import Script

BOB = RemoteSender(RemoteUserId("bob"), "Bob")
CAROL = RemoteSender(RemoteUserId("carol"), "Carol")


def say(text: str, sender: RemoteSender = BOB, chat: str = "lobby", **more: Any) -> RemoteMessage:
    """A remote message."""
    return RemoteMessage(ChatId(chat), sender, Content((Plain(text),)), **more)


@dataclass(slots=True)
class Gate:
    """Whoever reaches the place sets `reached` and waits for `opened`."""

    reached: threading.Event
    opened: threading.Event

    async def wait(self) -> None:
        """Return when somebody stands before the gate."""
        assert await asyncio.to_thread(self.reached.wait, 10), "nobody came"


class Gates:
    """Fault points that hold the writer's thread at a named place. Never hold one that the loop reaches."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}
        self._made: list[Gate] = []
        self.passed: list[str] = []

    def hold(self, name: str) -> Gate:
        """Hold the next one who comes to the place."""
        gate = self._gates[name] = Gate(threading.Event(), threading.Event())
        self._made.append(gate)
        return gate

    def release(self) -> None:
        """Let everybody go on, also where a test ended in the middle."""
        for gate in self._made:
            gate.opened.set()

    def hit(self, name: str) -> None:
        """As `FaultPoints.hit`."""
        self.passed.append(name)
        gate = self._gates.pop(name, None)
        if gate is not None:
            gate.reached.set()
            gate.opened.wait(30)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request to the homeserver as it came in."""

    method: str
    url: str
    body: bytes


class Recorder:
    """Everything that a fake homeserver is asked, those requests included that a fault meets."""

    def __init__(self, bridge: Harness) -> None:
        self.seen: list[Seen] = []
        self._apply = bridge.homeserver.faults.apply
        bridge.homeserver.faults.apply = self._record  # type: ignore[method-assign]

    async def _record(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append(Seen(request.method, request.path_qs, await request.read()))
        return await self._apply(request, handler)

    def of(self, part: str) -> list[Seen]:
        """Requests with this in their address, in order."""
        return [one for one in self.seen if part in one.url]


def rows(bridge: Harness, query: str) -> list[tuple[Any, ...]]:
    """What another connection to the database sees: what is committed, and nothing else."""
    connection = sqlite3.connect(f"file:{bridge.folder / 'bridge.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a bridge's folder, its configuration apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".yaml"
    }


async def turns(number: int = 30) -> None:
    """Let the loop go round: whoever does not wait for somebody else gets on."""
    for _ in range(number):
        await asyncio.sleep(0)


async def receive(bridge: Harness, script: Script, *events: RemoteEvent) -> None:
    """The network says this, and all of it ends."""
    assert script.inbox is not None
    await script.inbox.receive(events)
    await bridge.settled()


async def balances(bridge: Harness) -> dict[tuple[str, int], Any]:
    """The books, which must balance."""
    await bridge.settled()
    audit = await bridge.running.journal.audit()
    assert audit.holds, audit.balances
    return dict(audit.balances)


def notices(bridge: Harness, room: str) -> list[str]:
    """What the bot said in a room."""
    return [str(body) for sender, body in bridge.homeserver.messages(room) if sender == bridge.homeserver.bot]


def said(bridge: Harness, room: str, localpart: str) -> list[str]:
    """What a ghost of the scripted network said in a room, in order."""
    sender = f"@_net_{localpart}:hs.test"
    return [str(body) for who, body in bridge.homeserver.messages(room) if who == sender]


@asynccontextmanager
async def locked(bridge: Harness) -> AsyncIterator[None]:
    """Somebody else holds the database's write lock."""
    other = sqlite3.connect(bridge.folder / "bridge.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def put_transaction(bridge: Harness, txn: str, body: bytes, token: str | None = None) -> tuple[int, Any]:
    """Push a transaction as the homeserver does; status and JSON of the answer."""
    url = f"http://127.0.0.1:{bridge.port}/_matrix/app/v1/transactions/{txn}"
    headers = {"Authorization": f"Bearer {token or bridge.appservice.hs_token}", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.put(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status, await response.json()


class Events:
    """A transaction as the Matrix side hands it on."""

    def __init__(self, events: Iterable[dict[str, Any]], txn: str = "t", digest: bytes = b"d") -> None:
        self.ephemeral: list[dict[str, Any]] = []
        self.id, self.digest, self.events = txn, digest, list(events)


def event(room: str, number: int, sender: str = "@alice:hs.test", **more: Any) -> dict[str, Any]:
    """A message as the homeserver pushes it."""
    return {
        "event_id": f"$pushed{number}",
        "room_id": room,
        "sender": sender,
        "type": "m.room.message",
        "origin_server_ts": 1_800_000_000_000 + number,
        "content": {"msgtype": "m.text", "body": f"pushed {number}"},
        **more,
    }
