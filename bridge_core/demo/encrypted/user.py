"""A person on Matrix with an independent encrypted client: matrix-nio speaks and reads, a raw client does the rest."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from bridge_core.api.demo import DemoError, Event
from bridge_core.demo.matrix_client import MatrixClient
from bridge_core.demo.peers.peer import Peer, PeerError, PeerEvent
from bridge_core.demo.person import Person

__all__ = ["EncryptedUser"]

_POLL_MS = 200


class EncryptedUser(Person):
    """A `bridge_core.api.demo.MatrixUser` whose events are those of its encrypted client, as far as it can read them.

    `rooms` are those it has joined. Every call may raise DemoError, MatrixError or TimeoutError.
    """

    def __init__(self, raw: MatrixClient, peer: Peer) -> None:
        self.raw = raw
        self.peer = peer
        self.user_id = raw.user_id
        self.rooms: set[str] = set()
        self._files: dict[str, tuple[bytes, str]] = {}
        self._inside: list[str] = []
        self._numbers = itertools.count(1)

    @property
    def events(self) -> list[Event]:
        """All events that the encrypted client has read so far, in the order first seen."""
        return [_event(one) for one in self.peer.events.values() if one.failure is None]

    @property
    def invites(self) -> dict[str, list[Event]]:
        """Rooms not joined yet, with their stripped state."""
        return self.raw.invites

    def heard(self, *, without: str) -> list[str]:
        """What files of this person's hold, and the texts of all encrypted events, but for those `without` sent."""
        found = list(self._inside)
        for one in self.peer.events.values():
            if one.encrypted and one.sender != without:
                content = one.content
                for part in (content, content.get("m.new_content") or {}):
                    found += [str(part[key]) for key in ("body", "formatted_body") if key in part]
        return found

    # -- seeing

    async def _more(self) -> None:
        """Syncs; what the encrypted client reads is looked at a few times a second."""
        await self.raw.sync(_POLL_MS)
        await asyncio.sleep(_POLL_MS / 1000)  # a busy room ends each sync at once

    def _last(self) -> str:
        unread = sum(one.failure is not None for one in self.peer.events.values())
        return (
            f"{unread} unreadable; last: {[(one['sender'], one['type'], one['content']) for one in self.events[-5:]]}"
        )

    async def wait_for(self, predicate: Callable[[Event], bool], timeout: float = 20, what: str = "an event") -> Event:
        """The first event, of all read so far and to come, that fits; raises TimeoutError naming `what`."""
        return await self.wait_until(lambda: next((e for e in self.events if predicate(e)), None), timeout, what)

    async def sync(self, wait_ms: int = 0) -> None:
        """Take in what is new, waiting up to `wait_ms` for it; the encrypted client reads it on its own."""
        await self.raw.sync(wait_ms)

    async def messages(self, room: str, *, limit: int = 10_000) -> list[Event]:
        """The room's timeline as the homeserver tells it now; encrypted events as the encrypted client reads them."""
        read = {one["event_id"]: one for one in self.events}
        return [read.get(one["event_id"], one) for one in await self.raw.messages(room, limit=limit)]

    async def members(self, room: str) -> dict[str, str | None]:
        """The joined members of a room and their display names."""
        return await self.raw.members(room)

    # -- acting

    async def send(
        self, room: str, content: Mapping[str, Any], kind: str = "m.room.message", txn_id: str | None = None
    ) -> str:
        """Send an event, encrypted; the file that `upload` was given goes with it."""
        file = self._files.pop(str(content.get("url")), None)
        try:
            if file is None:
                return await self.peer.send(room, content, kind)
            data, mimetype = file
            return await self.peer.file(room, data, str(content["body"]), mimetype, str(content["msgtype"]))
        except PeerError as error:
            raise DemoError(str(error)) from error

    async def redact(self, room: str, event_id: str, reason: str | None = None) -> str:
        """Redact an event; the redaction's id."""
        return await self.raw.redact(room, event_id, reason)

    async def upload(self, data: bytes, content_type: str, filename: str) -> str:
        """An address for the next `send` only: a file is encrypted and uploaded with the event that has its keys."""
        address = f"mxc://held/{next(self._numbers)}"
        self._files[address] = data, content_type
        self._inside.append(data.decode("latin-1"))
        return address

    async def download(self, mxc: str) -> bytes:
        """The bytes as the homeserver has them."""
        return await self.raw.download(mxc)

    async def opened(self, event_id: str) -> bytes:
        """The decrypted bytes of the file of an event that was read."""
        try:
            return await self.peer.download(self.peer.events[event_id])
        except PeerError as error:
            raise DemoError(str(error)) from error

    async def create_room(self, **options: Any) -> str:
        """Create an encrypted room; its id."""
        return await self.peer.create_room(**options)

    async def join(self, room_or_alias: str) -> str:
        """Join, and wait until the encrypted client knows the room; its id."""
        room = await self.raw.join(room_or_alias)
        try:
            await self.peer.join(room)
        except PeerError as error:
            raise DemoError(str(error)) from error
        self.rooms.add(room)
        return room

    async def invite(self, room: str, user_id: str) -> None:
        """Invite a user."""
        await self.raw.invite(room, user_id)

    async def leave(self, room: str) -> None:
        """Leave a room or refuse its invitation."""
        await self.raw.leave(room)


def _event(one: PeerEvent) -> Event:
    event: Event = {
        "room_id": one.room_id,
        "event_id": one.event_id,
        "sender": one.sender,
        "type": one.kind,
        "content": dict(one.content),
        "encrypted": one.encrypted,
    }
    if one.state_key is not None:
        event["state_key"] = one.state_key
    if one.redacts is not None:
        event["redacts"] = one.redacts
    return event
