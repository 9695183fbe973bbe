"""Which links went out with which message, so that taking the message back takes the files back as well."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

import orjson
import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, NetworkId, RoomId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixOutgoing
from bridge_core.content.addresses import is_mxc
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

NAMESPACE: Final = "links"
"""Of the rows, which are forgotten once the links have expired: see `remembered_at`."""
USERS: Final = "links.users"
"""The same by network and user, for those who take back everything that a user sent."""
KEYS: Final = "links.keys"
"""The keys of encrypted files that went out by links, by file, digest and network: erased with the links."""
_AT: Final = 8


class Revocations(Protocol):
    """Files whose links work no more."""

    async def revoke(self, link: str, at: int) -> None:
        """Return when committed."""


class LinkLedger:
    """Remembers links by event, and revokes them. `opening`: the networks where encrypted files have links, too."""

    def __init__(
        self,
        kv: KeyValues,
        revocations: Revocations,
        clock: Clock,
        opening: Callable[[], Sequence[NetworkId]] = lambda: (),
    ) -> None:
        self._opening = opening
        self._kv = kv
        self._revocations = revocations
        self._clock = clock

    async def remember(self, network: NetworkId, message: MatrixOutgoing) -> None:
        """Return when it is committed which files go out with a message: before it is sent, whatever becomes of it."""
        if not isinstance(message, MatrixMessage | MatrixEdit) or not message.content.attachments:
            return
        if network in self._opening():
            for attachment in message.content.attachments:
                if attachment.keys is not None:
                    value = self._clock.now_ms().to_bytes(_AT, "big") + attachment.keys.encode("utf-8", "replace")
                    place = _place(attachment.source, digest_of(attachment.keys), network)
                    await self._kv.put(KEYS, place, value)
        sources = [attachment.source for attachment in message.content.attachments]
        await self._put(network, message, sources, anew=not isinstance(message, MatrixEdit))

    async def add(self, network: NetworkId, message: MatrixMessage | MatrixEdit, source: str) -> None:
        """Return when it is committed that one more file goes out with a message, before anybody has its link."""
        await self._put(network, message, [source], anew=False)

    async def _put(
        self, network: NetworkId, message: MatrixMessage | MatrixEdit, sources: list[str], *, anew: bool
    ) -> None:
        events = [message.event_id]
        if isinstance(message, MatrixEdit):
            # Whoever takes the message back takes back what it was changed into.
            events.append(message.target.event_id)
        for event in events:
            known = [] if anew else await self._of(message.room, event)
            every = list(dict.fromkeys([*known, *sources]))
            value = self._clock.now_ms().to_bytes(_AT, "big") + orjson.dumps(every)
            await self._kv.put(NAMESPACE, _key(message.room, event), value)
            await self._kv.put(USERS, f"{_of_user(network, message.sender.id)}{_key(message.room, event)}", value)

    async def keys(self, mxc: str, digest: str) -> str:
        """The keys of an encrypted file that went out by a link to a network where such links open files, still.

        Raises RejectedError where there is none (any more): links end with the setting, not only with the message.
        """
        for network in self._opening():
            stored = await self._kv.get(KEYS, _place(mxc, digest, network))
            if stored is not None:
                return stored[_AT:].decode()
        raise RejectedError("the keys of the file are gone")

    async def revoke(self, room: RoomId, event: EventId) -> None:
        """End the links of a message that was taken back. Whoever redacted it: the room has allowed that."""
        for source in await self._of(room, event):
            await self._end(source)

    async def revoke_file(self, mxc: str) -> None:
        """End all links to a file, for an admin: those there are, and those that will be made. Return when committed.

        Raises RejectedError for what is no address of a file.
        """
        if not is_mxc(mxc):
            raise RejectedError(f"{mxc[:100]} is no mxc:// address of a file")
        log.warning("media_links_revoked", file=mxc)
        await self._end(mxc)

    async def _end(self, source: str) -> None:
        await self._revocations.revoke(source, self._clock.now_ms())
        for key in await self._kv.items(KEYS, f"{source} "):
            await self._kv.put(KEYS, key, None)

    async def revoke_event(self, room: RoomId, event: EventId) -> int:
        """As `revoke`, for an admin: how many files it was."""
        files = await self._of(room, event)
        for source in files:
            await self.revoke_file(source)
        return len(files)

    async def revoke_user(self, network: NetworkId, user: UserId) -> int:
        """End the links to all files that a user sent to a network and that still work; how many files it was."""
        rows = await self._kv.items(USERS, _of_user(network, user))
        files = {source for value in rows.values() for source in orjson.loads(value[_AT:])}
        for source in files:
            await self.revoke_file(source)
        return len(files)

    async def _of(self, room: RoomId, event: EventId) -> list[str]:
        stored = await self._kv.get(NAMESPACE, _key(room, event))
        return list(orjson.loads(stored[_AT:])) if stored else []


def digest_of(keys: str) -> str:
    """What a link says of the keys it is for: who knows a file's address alone gets none that opens it."""
    return blake2b(keys.encode("utf-8", "replace"), digest_size=8).hexdigest()


def remembered_at(value: bytes) -> int:
    """When the links of a row went out last, in milliseconds."""
    return int.from_bytes(value[:_AT], "big")


def _place(mxc: str, digest: str, network: NetworkId) -> str:
    return f"{mxc} {digest} {network}"


def _of_user(network: NetworkId, user: UserId) -> str:
    return f"{network}\x1f{user}\x1f"


def _key(room: RoomId, event: EventId) -> str:
    return f"{room} {event}"
