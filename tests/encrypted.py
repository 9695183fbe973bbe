"""A human of the fake homeserver with an encrypting client: a machine of its own, with keys of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import orjson

from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.counts import CryptoCounts
from bridge_core.crypto.errors import MissingKeyError
from bridge_core.crypto.machine import CryptoMachine, Decrypted
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import Owner
from bridge_core.engine.clock import SystemClock
from bridge_core.engine.faults import NoFaults
from bridge_core.engine.matrix_ports import SendRequest
from bridge_core.matrix.homeserver import Homeserver
from bridge_core.matrix.keys import Keys
from bridge_core.matrix.requests import Requests
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner
from bridge_core.testing.homeserver import FakeHomeserver
from bridge_core.testing.homeserver.user import FakeUser
from tests.unit.crypto.memory import MemoryCryptoStore

MEGOLM = "m.megolm.v1.aes-sha2"


class EncryptedClient:
    """Reads and writes as one human."""

    def __init__(self, fake: FakeHomeserver, user: FakeUser, *, cross_signing: bool = True) -> None:
        self.fake = fake
        self.user = user
        self.owner = Owner(UserId(user.id), user.device)
        self._requests = Requests(user.token)
        self._tasks = TaskOwner("client")
        self.machine = CryptoMachine(
            MemoryCryptoStore(),
            Keys(Homeserver(self._requests, fake.url, self.owner.user, device=user.device, devices=True)),
            self.owner,
            lambda one: one == user.id,
            SystemClock(),
            Policy(cross_signing=cross_signing),
            CryptoCounts(Metrics()),
            self._tasks,
            lambda room, session: None,
            lambda room, devices: None,
            NoFaults(),
        )

    async def __aenter__(self) -> Self:
        await self._requests.start()
        await self.machine.start()
        await self.machine.accounts.ready(self.owner)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tasks.close(asyncio.get_running_loop().time() + 5)
        await self._requests.stop()

    async def hear(self) -> None:
        """Take what came for the device."""
        messages = [
            {**one, "to_user_id": self.owner.user, "to_device_id": self.owner.device} for one in self.user.to_device()
        ]
        taken = self.machine.received(messages, {"changed": []}, {}, {})
        self.machine._store.written(taken.writes)  # type: ignore[attr-defined]
        self.machine.committed(taken)
        await self.machine.handled()

    async def read(self, event: Mapping[str, Any]) -> Decrypted:
        """An event in the clear, and how far its sender's device is trusted."""
        await self.hear()
        self.machine.devices.outdated(self.machine.devices.marks([UserId(event["sender"])]))
        return await self.machine.decrypt(orjson.loads(orjson.dumps(event)))

    async def says(self, room: str, body: str, **more: Any) -> str:
        """Say it encrypted, for all members of the room; the event's id."""
        content = {"msgtype": "m.text", "body": body, **more}
        there = self.fake.room(room)
        await self.machine.room_encrypted(RoomId(room), {"algorithm": MEGOLM})
        request = SendRequest(
            RoomId(room), "m.room.message", "t", self.owner.user, self.owner.device, orjson.dumps(content)
        )
        members = frozenset(UserId(user) for user in there.members() if user != self.owner.user)
        found = await self.machine.encrypt(request, members)
        return self.user.send_event(room, found.type, orjson.loads(found.body))

    async def sees(self, room: str, body: str, timeout: float = 60) -> Decrypted:
        """The encrypted message that says this, once it is there."""
        tried: set[str] = set()
        async with asyncio.timeout(timeout):
            while True:
                for event in list(self.fake.room(room).timeline):
                    if not _is_encrypted(event) or event["event_id"] in tried:
                        continue
                    try:
                        found = await self.read(event)
                    except MissingKeyError:
                        continue
                    tried.add(event["event_id"])
                    if found.event["content"].get("body") == body:
                        return found
                await asyncio.sleep(0.02)

    async def sees_part(self, room: str, part: str, timeout: float = 30) -> str:
        """The text of the encrypted message that holds this, once it is there."""
        async with asyncio.timeout(timeout):
            while True:
                async for text in self.all(room):
                    if part in text:
                        return text
                await asyncio.sleep(0.02)

    async def all(self, room: str) -> AsyncIterator[str]:
        """The text of every encrypted message that can be read."""
        for event in list(self.fake.room(room).timeline):
            if _is_encrypted(event):
                with contextlib.suppress(MissingKeyError):
                    yield str((await self.read(event)).event["content"].get("body"))


def _is_encrypted(event: Mapping[str, Any]) -> bool:
    """Encrypted, and not redacted."""
    return event["type"] == "m.room.encrypted" and "ciphertext" in event["content"]
